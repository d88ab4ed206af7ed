"""A page's section is replaced by its own command, and nothing else of the page is touched."""

from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from tests.bench.sections import TITLE, write_section

BEGIN, END = "<!-- begin one -->", "<!-- end one -->"


def test_a_section_replaces_itself_and_leaves_the_others(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    write_section(page, "one", "first\\1")
    write_section(page, "two", "second")
    write_section(page, "one", "\nthird\\1\n")
    assert page.read_text() == (f"{TITLE}\n{BEGIN}\nthird\\1\n{END}\n\n<!-- begin two -->\nsecond\n<!-- end two -->\n")


def test_what_stands_around_the_markers_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nby hand\n{BEGIN}\nold\n{END}\n\n## More \\1 µ\n")
    for _ in range(2):
        write_section(page, "one", "new", title=None)
        assert page.read_text() == f"# Title\n\nby hand\n{BEGIN}\nnew\n{END}\n\n## More \\1 µ\n"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("text", ["# Title", BEGIN, END, f"{END}\n{BEGIN}", BEGIN * 2 + END, BEGIN + END * 2])
def test_markers_that_are_no_pair_are_refused_or_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ConchError, match="does not have the two markers once and in order; put the lines"):
        write_section(page, "one", "new", title=None)
    assert page.read_text() == text
    for _ in range(2):
        write_section(page, "one", "new")
        assert page.read_text().startswith(f"{text}\n\n{BEGIN}\nnew\n{END}\n")


def test_a_page_that_must_have_the_section_is_not_begun(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    with pytest.raises(ConchError, match=rf"there is no .*page.md; make it, and put the lines `{BEGIN}` and `{END}`"):
        write_section(page, "one", "new", title=None)
    assert not page.exists()
