"""How the commands of `serving` end: an error is one line, a signal its own exit code."""

import sys
from collections.abc import Callable

from conch import command_line
from serving.server.interruption import Interrupted


def run(command: Callable[[], int], stopped: str = "") -> int:
    """The exit code of `command`: 1 for a failure that is one line on standard error, 128 + n after signal n.

    `stopped` is said after a signal.
    """
    try:
        return command_line.run(command, stopped=stopped)
    except Interrupted as interruption:
        sys.stderr.write(f"{stopped}\n" if stopped else "")
        return interruption.exit_code
