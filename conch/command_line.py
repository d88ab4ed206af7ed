"""What every command does alike: an error is one line and an exit code, and a program of the kit starts another."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.markup import escape

from clients.terminal import Terminal, print_json
from conch import PROJECT
from conch.contracts.errors import ConchError

__all__ = ["ERR", "OUT", "fail", "out", "print_json", "program", "run"]

OUT, ERR = Terminal(), Terminal(stderr=True, soft_wrap=True, highlight=False)


def out(json: bool) -> Terminal:
    """`OUT`, or what says nothing where a JSON document is asked for instead."""
    return Terminal(quiet=True) if json else OUT


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


def fail(text: str) -> None:
    """Say what went wrong, in one line on standard error."""
    ERR.print(f"[red]error:[/] {escape(text)}")


def program(module: str, *arguments: str) -> list[str]:
    """A command line that runs one of the kit's own modules with this Python, wherever it is started.

    `python -m` would look into the working folder first, where a project may have a `training/` of its own.
    """
    begin = (
        f"import runpy, sys; sys.path.insert(0, {str(PROJECT)!r}); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-c", begin, *arguments]
