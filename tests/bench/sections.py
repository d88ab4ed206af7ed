"""Pages of docs/ with a section for each benchmark, each rewritten by its own command."""

from __future__ import annotations

from pathlib import Path

from conch.contracts.errors import ConchError
from conch.contracts.whole import write_whole

TITLE = (
    "# Benchmarks\n\nEach section is written by the command that it names; what is between the markers is replaced.\n"
)


def write_section(path: Path, name: str, text: str, title: str | None = TITLE) -> None:
    """Put `text` between the markers of section `name`; all else of the page stays.

    Args:
        path: a Markdown file.
        name: of the section, as in its markers.
        text: Markdown.
        title: begins a page that is missing; without the two markers, once and in order, the section goes to the end.
            None: the page and they must be there.

    Raises:
        ConchError: they are not.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    fix = f"put the lines `{begin}` and `{end}` where the section is to stand"
    page = path.read_text(encoding="utf-8") if path.exists() else title
    if page is None:
        raise ConchError(f"there is no {path}; make it, and {fix}")
    if page.count(begin) == page.count(end) == 1 and page.index(begin) < page.index(end):
        before, after = page[: page.index(begin)], page[page.index(end) :]
    elif title is not None:  # what took minutes to measure is not lost to a marker
        before, after = f"{page.rstrip()}\n\n", f"{end}\n"
    else:
        raise ConchError(f"{path} does not have the two markers once and in order; {fix}")
    write_whole(path, f"{before}{begin}\n{text.strip()}\n{after}".encode())
