"""Links between pages lead somewhere, the messages that they explain are those of the code, tables are in order."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STAGES = ("conch", "training", "export", "serving", "clients", "loadtest")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """What can stand behind `#`: headings as GitHub makes anchors of them, and ids."""
    outside_code = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", outside_code, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', outside_code))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(page)):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", text_of(ROOT / "README.md")))
    assert {page.name for page in PAGES if page.parent.name == "docs"} - linked == set()


@cache
def source() -> str:
    """The text of the kit; literals that are joined over lines are one."""
    files = [file for stage in STAGES for file in (ROOT / stage).rglob("*.py")]
    code = "\n".join(text_of(file) for file in [*files, ROOT / "Makefile"])
    joined = re.sub(r"""["'](?:  # \w+: .*)?\s*\n\s*f?["']""", "", code)
    return re.sub(r"\s+", " ", joined)


def section(page: str, heading: str) -> str:
    """The text of a page from a heading to the next one."""
    return text_of(ROOT / "docs" / page).partition(f"# {heading}\n")[2].partition("\n#")[0]


def messages() -> list[str]:
    """The first column of the tables of symptoms, where it is what a command says; not what Triton does."""
    tables = [
        text_of(ROOT / "docs" / "troubleshooting.md"),
        section("load.md", "INVALID: what to do"),
        section("releasing.md", "What the report says"),
    ]
    found: list[str] = re.findall(r"^\| `([^`]+)` \|", "\n".join(tables), re.MULTILINE)
    return found


def test_there_are_messages() -> None:
    assert len(messages()) > 70
    assert "ended by ... after ... of ... s" in messages()
    assert "... is not what ... used" in messages()


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_in_the_code(message: str) -> None:
    code = source()
    fragments = [fragment.strip() for fragment in message.split("...")]
    missing = [fragment for fragment in fragments if len(fragment) > 3 and fragment not in code]
    assert not missing


def test_terms_are_in_order_and_once() -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \| \[.+\]\(.+\) \|$", text_of(ROOT / "docs" / "glossary.md"), re.MULTILINE)
    terms = [row.strip("`").lower() for row in rows]
    assert len(terms) > 50
    assert terms == sorted(set(terms))
