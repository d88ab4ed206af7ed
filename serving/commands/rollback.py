"""`conch rollback`: the version before is live again on the running server."""

from collections.abc import Sequence

import tyro

from serving.commands.rollout import change
from serving.commands.run import run


def rollback(model: tyro.conf.Positional[str], version: int | None = None, why: str = "", json: bool = False) -> int:
    """Make the version live again that was live before, without a gap and without a new proof.

    What is above it is not served any more, and sequences that began there end with an error.

    For example: conch rollback cnn --why "wrong answers on scans"

    Args:
        model: A published model.
        version: The version. Default: the one before the live one.
        why: What the history keeps as the reason.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    return change(model, json, lambda rollout: rollout.roll_back(version, why))


def main(words: Sequence[str]) -> int:
    """Run `conch rollback` with these words; the exit code."""
    return run(lambda: tyro.cli(rollback, prog="conch rollback", args=words), stopped="stopped")
