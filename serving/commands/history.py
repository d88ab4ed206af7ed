"""`conch history`: which version of a model was live when, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tyro
from rich.markup import escape
from rich.table import Table

from conch.command_line import OUT, print_json
from conch.contracts.artifacts import models_folder
from conch.contracts.ensembles import refuse_part
from conch.contracts.live import live_version, read_history
from conch.contracts.versions import versions
from serving.commands.rollout import shown
from serving.commands.run import run
from serving.errors import ServingError
from serving.repository.folder import check_repository


def history(model: tyro.conf.Positional[str], repository: Path | None = None, json: bool = False) -> int:
    """Say who was live when, and why.

    For example: conch history cnn

    Args:
        model: A published model.
        repository: The model repository. Default: artifacts/models.
        json: Print one JSON document instead, for programs; docs/json.md has its keys.
    """
    repository = repository or models_folder()
    models, folder = check_repository(repository), repository / model
    if not versions(folder):
        raise ServingError(f"{repository} has no version of {model!r}; it has: {', '.join(models)}")
    refuse_part(folder, "conch history")
    live, decisions = live_version(folder), read_history(folder)
    if json:
        print_json({"model": model, "live": live, "decisions": [asdict(decision) for decision in decisions]})
        return 0
    table = Table("when", "what", "version", "before", "shown", "why")
    for decision in decisions:
        before = "-" if decision.before is None else str(decision.before)
        table.add_row(
            decision.at,
            decision.how,
            str(decision.version if decision.tried is None else decision.tried),
            before,
            escape(shown(decision.proof)) or "-",
            escape(decision.why),
        )
    if decisions:
        OUT.print(table)
    newest = versions(folder)[-1]
    held = "" if live == newest else f"; {newest} is published: conch rollout {model}"
    decided = "" if decisions else ", the newest: nothing was decided yet"
    OUT.print(f"{model}: version {live} is live{decided}{held}", highlight=False)
    return 0


def main(words: Sequence[str]) -> int:
    """Run `conch history` with these words; the exit code."""
    return run(lambda: tyro.cli(history, prog="conch history", args=words))
