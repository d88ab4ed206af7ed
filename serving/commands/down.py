"""`conch down`: stop the server that `conch serve` started."""

from collections.abc import Sequence

import tyro

from conch.command_line import OUT
from serving.commands.run import run
from serving.server.running import state_file, stop_running


def down() -> int:
    """Stop the server that serve started, and wait until it is gone."""
    stopped = stop_running(state_file())
    OUT.print(f"Stopped the server at http://{stopped.http}.", highlight=False)
    return 0


def main(words: Sequence[str]) -> int:
    """Run `conch down` with these words; the exit code."""
    return run(lambda: tyro.cli(down, prog="conch down", args=words))
