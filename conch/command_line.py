"""What every command does alike: an error is one line and an exit code, and a program of the kit starts another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from conch import PROJECT
from conch.contracts.errors import ConchError

if TYPE_CHECKING:
    from rich.console import Console

UNCUT = 10_000
"""Columns of what is no terminal."""


def run(command: Callable[[], int], failed: int = 1, stopped: str = "stopped") -> int:
    """The exit code of `command`; what a person can mend, or a Ctrl-C, is one line on standard error.

    Args:
        command: gives its own exit code.
        failed: that of a `ConchError`.
        stopped: what is said after Ctrl-C, which ends with 130.
    """
    try:
        return command()
    except ConchError as error:
        fail(str(error))
        return failed
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n" if stopped else "")
        return 130


def console() -> Console:
    """Standard output, in which no table is cut and no line broken where it is a file, a pipe or the log of CI.

    rich takes those for 80 columns wide. COLUMNS says otherwise.
    """
    from rich.console import Console

    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return Console()
    return Console(width=UNCUT, height=25)  # without a height, TERM=dumb is 80 columns again


def fail(text: str) -> None:
    """Say what went wrong, in one line on standard error."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]error:[/] {escape(text)}")


def program(module: str, *arguments: str) -> list[str]:
    """A command line that runs one of the kit's own modules with this Python, wherever it is started.

    `python -m` would look into the working folder first, where a project may have a `training/` of its own.
    """
    begin = (
        f"import runpy, sys; sys.path.insert(0, {str(PROJECT)!r}); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-c", begin, *arguments]
