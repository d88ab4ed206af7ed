"""What `conch load capacity` and `profile` found of the versions at hand, a row each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conch.report.evidence import Evidence


def search_rows(models: list[Evidence], artifacts: Path) -> list[dict[str, str]]:
    """`model`, `kind`, `says`, and `page` from the report's folder ("" where there is none)."""
    rows = []
    for model in models:
        for kind, words in (("capacity", _capacity), ("profile", _profile)):
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


def _capacity(result: dict[str, Any]) -> str:
    low, high = result["kept_per_s"], result["not_kept_per_s"]
    end = "the load generator's end" if result["limited_by_generator"] else "not kept"
    above = f"{high:.0f} requests/s: {end}" if high else "no higher rate was tried"
    return f"{result['promise']} kept at {low or 0:.0f} requests/s; {above}"


def _profile(result: dict[str, Any]) -> str:
    first, last = (result["points"] or [None])[0], (result["points"] or [None])[-1]
    if first is None or last is None:
        return "no rate was held to its end"
    end = "where the median is 20 times the first" if result["collapsed"] else "without a collapse"
    return f"{first['rate']:.0f} to {last['rate']:.0f} requests/s, {end}"
