"""What the commands print is whole where nobody watches: in a file, a pipe, the log of CI."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conch import PROJECT

TABLE = """
from rich.table import Table
table = Table("model", "reason")
for row in range(3):
    table.add_row("a" * 90, "b" * 90)
console.print(table)
console.print("c " * 90)
"""
CONSOLES = {
    "the kit's": "from conch.command_line import console; console = console()",
    "the clients'": "from clients.__main__ import _console; console = _console()",
}


def printed(console: str, **environment: str) -> str:
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "TERM")}
    done = subprocess.run(
        [sys.executable, "-c", CONSOLES[console] + TABLE], cwd=PROJECT, env=known | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    "environment", [{}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "dumb"}]
)
@pytest.mark.parametrize("console", CONSOLES)
def test_no_table_is_cut_and_no_line_broken(console: str, environment: dict[str, str]) -> None:
    said = printed(console, **environment)
    assert said.count("a" * 90) == said.count("b" * 90) == 3
    assert "c " * 89 in said


@pytest.mark.parametrize("console", CONSOLES)
def test_columns_is_obeyed(console: str) -> None:
    assert max(map(len, printed(console, COLUMNS="100").splitlines())) == 100


def test_no_command_prints_by_a_console_of_its_own() -> None:
    makers = {"conch/command_line.py", "clients/__main__.py"}
    own = {
        str(file.relative_to(PROJECT))
        for stage in ("conch", "training", "export", "serving", "clients", "loadtest")
        for file in Path(PROJECT, stage).rglob("*.py")
        if re.search(r"\bConsole\(\)", file.read_text(encoding="utf-8"))
    }
    assert own - makers == {"training/loop/epochs.py"}, "a progress bar"
