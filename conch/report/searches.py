"""What `conch load capacity` and `profile` found of the versions at hand, a row each."""

from __future__ import annotations

import json
from pathlib import Path

from conch.report.evidence import Evidence
from loadtest.search_words import capacity_says, profile_says


def search_rows(models: list[Evidence], artifacts: Path) -> list[dict[str, str]]:
    """`model`, `kind`, `says`, and `page` from the report's folder ("" where there is none)."""
    rows = []
    for model in models:
        for kind, words in (("capacity", capacity_says), ("profile", profile_says)):
            page = artifacts / "report" / f"load-{kind}" / f"{model.name}.html"
            try:
                result = json.loads(page.with_suffix(".json").read_text())
                says = words(result)
            except (OSError, ValueError, KeyError, TypeError):  # none, or not of this form
                continue
            if result.get("golden_sha256") != model.published.get("sha256", {}).get("golden"):
                says = "the one at hand is of another version"
            link = f"load-{kind}/{model.name}.html" if page.is_file() else ""
            rows.append({"model": model.name, "kind": kind, "says": says, "page": link})
    return rows
