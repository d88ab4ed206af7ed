"""How the commands of `serving` end: an error is one line, a signal its own exit code."""

from collections.abc import Callable

from conch import command_line
from serving.server.interruption import Interrupted


def run(command: Callable[[], int]) -> int:
    """The exit code of `command`: 1 for a failure that is one line on standard error, 128 + n after signal n."""
    try:
        return command_line.run(command, stopped="")
    except Interrupted as interruption:
        return interruption.exit_code
