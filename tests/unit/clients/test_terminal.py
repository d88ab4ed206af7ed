"""How tables are printed: nothing of them is cut, on a narrow terminal or without one."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from clients.terminal import Terminal, print_json

ROOT = Path(__file__).parents[3]
HEADS = ("model", "state", "first\nms", "requests/s", "sha256", "why")
CELLS = (
    "autoencoder_int8",
    "[red]unavailable[/]",
    "1.25",
    "59.9",
    "0123456789ab",
    "its file cannot be read (no such file)",
)
WORDS = [word for cell in (*HEADS, *CELLS) for word in Text.from_markup(cell).plain.split()]


class Screen(io.StringIO):
    """What a terminal would be given."""

    def isatty(self) -> bool:
        return True


def shown(table: object, width: int | None) -> list[str]:
    """The lines of `table` on a terminal of this width, or without one."""
    file = Screen() if width else io.StringIO()
    Terminal(file=file, width=width, height=25, color_system=None, _environ={"COLUMNS": "80"}).print(table)
    return file.getvalue().splitlines()


def table(**options: bool) -> Table:
    """One row under six heads; `options` are those of the columns."""
    found = Table(title="what is served")
    for head in HEADS:
        found.add_column(head, **options)  # type: ignore[arg-type]
    found.add_row(*CELLS)
    return found


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 24])
@pytest.mark.parametrize("no_wrap", [True, False])
def test_no_word_is_cut_at_any_width(width: int, no_wrap: bool) -> None:
    lines = shown(table(no_wrap=no_wrap), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert [word for word in WORDS if word not in text] == []
    assert "…" not in text


def test_where_it_fits_the_table_is_as_it_was() -> None:
    assert shown(table(), 200)[1].startswith("┏")
    assert shown(table(), 100)[1].startswith("┏")


def test_a_narrow_terminal_has_a_paragraph_a_row() -> None:
    lines = shown(table(), 60)
    assert lines[:3] == [
        "what is served",
        "model: autoencoder_int8",
        "  state: unavailable  first, ms: 1.25  requests/s: 59.9",
    ]


def test_without_a_terminal_a_row_is_a_line_however_long_and_has_no_frame() -> None:
    title, heads, row = shown(table(no_wrap=True), None)
    assert title == "what is served"
    assert heads.split("  ")[0] == "model"
    assert [cell.strip() for cell in row.split("  ") if cell] == [Text.from_markup(cell).plain for cell in CELLS]
    assert heads.index("why") == row.index("its file")


def test_without_a_terminal_no_sentence_is_broken_and_no_line_filled_up() -> None:
    assert shown("word " * 50, None) == ["word " * 50]
    assert shown(Syntax("-a: 1\n+a: 2\n", "diff"), None) == ["-a: 1", "+a: 2"]


def test_right_columns_are_aligned_right_and_a_table_without_heads_has_none() -> None:
    grid = Table.grid()
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_row("a", "1")
    grid.add_row("b", "100")
    assert shown(grid, None) == ["a    1", "b  100"]


def test_json_is_one_document_in_which_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"name": "größe", "values": (0.5, float("nan"), float("-inf")), "bytes": b"\xff"}], indent=None)
    written = capsys.readouterr().out
    assert written.count("\n") == 1
    assert json.loads(written) == [{"name": "größe", "values": [0.5, None, None], "bytes": "b'\\xff'"}]


def test_a_real_terminal_is_told_from_a_pipe() -> None:
    program = (
        "from clients.terminal import Terminal; from rich.table import Table; table = Table('a', 'b'); "
        "table.add_row('1', '2'); Terminal().print(table)"
    )
    command = [sys.executable, "-c", program]
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert piped.stdout == "a  b\n1  2\n"
    ours, theirs = pty.openpty()
    subprocess.run(command, cwd=ROOT, stdout=theirs, check=True, timeout=60)
    assert "┏".encode() in os.read(ours, 4096)
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "dumb"}])
@pytest.mark.parametrize("maker", ["clients.terminal import Terminal as made", "conch.command_line import OUT as made"])
def test_no_environment_cuts_what_is_no_terminal(maker: str, environment: dict[str, str]) -> None:
    program = f"""
from rich.table import Table
from {maker}
screen = made() if callable(made) else made
table = Table("model", "reason")
table.add_row("a" * 90, "b" * 90)
screen.print(table)
screen.print("c " * 90)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | {"COLUMNS": "80"} | environment,
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert all(whole in said for whole in ("a" * 90, "b" * 90, "c " * 89))


def test_no_command_makes_a_console_of_its_own() -> None:
    """It would cut what does not fit."""
    packages = ("conch", "training", "export", "serving", "clients", "loadtest")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    assert [str(file) for file in files if "Console(" in file.read_text() and file.name != "terminal.py"] == []
