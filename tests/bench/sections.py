"""docs/benchmarks.md: one file, a section for each benchmark, each rewritten by its own command."""

from __future__ import annotations

import re
from pathlib import Path

TITLE = (
    "# Benchmarks\n\nEach section is written by the command that it names; what is between the markers is replaced.\n"
)


def write_section(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers of section `name`, in its place or at the end; other sections stay."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    before = path.read_text() if path.exists() else TITLE
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    after = pattern.sub(lambda _: section, before) if pattern.search(before) else f"{before.rstrip()}\n\n{section}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(after)
