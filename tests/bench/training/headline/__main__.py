"""Train, time and judge the headline runs, and write them into docs/training.md.

    python -m tests.bench.training.headline                 all of them, in the table's order: two hours on two cores
    python -m tests.bench.training.headline lstm gan
    python -m tests.bench.training.headline --if-changed        only what is not done
    python -m tests.bench.training.headline lenet --judge-only  from the checkpoint at hand

Checkpoints are in `headline/` of the artifacts folder. The exit code is 0 where every asked run meets all its floors
and its time limit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from serving.commands.run import run as run_command
from serving.server.interruption import interruptible
from tests.bench.training.headline.page import all_met, floor_checks, write_page
from tests.bench.training.headline.results import Result, is_done, judge, read_result
from tests.bench.training.headline.runs import RUNS, Run, find_runs
from tests.bench.training.headline.timed_training import train

OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Settings:
    """What is run, and where it is written."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """lenet, resnet, lstm, autoencoder, gan or all (the default)."""

    if_changed: bool = False
    """Leave out runs whose result is of the same command, code, data and versions."""

    judge_only: bool = False
    """Judge the checkpoints at hand, train nothing."""

    page_only: bool = False
    """Only write the page anew from the results at hand."""

    data_dir: str = ""
    """Where public data sets are looked for and kept (default: CONCH_DATA, else ~/.cache/conch)."""

    docs: Path = Path("docs")
    """The folder of training.md and training/."""


def run(settings: Settings, table: Sequence[Run] = RUNS) -> int:
    """Do what is asked run by run, each written as soon as it is judged; the exit code."""
    asked = find_runs(settings.runs, table)
    _write(settings.docs, table)  # now, not after the training, where a page or a result is damaged
    os.environ["CONCH_ARTIFACTS"] = str(artifacts_folder() / "headline")
    if settings.data_dir:
        os.environ["CONCH_DATA"] = settings.data_dir
    failed = False
    for one in asked if not settings.page_only else ():
        try:
            _make(one, settings)
        except ConchError as error:
            ERR.print(f"error: {one.name}: {error}", markup=False)
            failed = True
        except Exception:  # a fault in one judge must not cost the hours of the runs after it
            ERR.print_exception()
            failed = True
        _write(settings.docs, table)
    results = _write(settings.docs, table)
    _tell(asked, results)
    return int(failed or not all(all_met(one, results[one.name]) for one in asked))


def _make(one: Run, settings: Settings) -> None:
    folder = settings.docs / "training"
    if not settings.judge_only:
        if settings.if_changed and is_done(one, folder):
            OUT.print(f"{one.name}: done before", markup=False)
            return
        OUT.print(f"[bold]{one.name}[/]: {one.command} (at most {one.minutes:g} min)")
        train(one)
    OUT.print(f"{one.name}: judging", markup=False)
    judge(one, folder)


def _write(docs: Path, table: Sequence[Run]) -> dict[str, Result | None]:
    results = {one.name: read_result(one, docs / "training") for one in table}
    write_page(docs / "training.md", table, results)
    return results


def _tell(asked: Sequence[Run], results: dict[str, Result | None]) -> None:
    for one in asked:
        for verdict in floor_checks(one, results[one.name]):
            colour = "green" if verdict.met else "red"
            ending = str(verdict).strip("*")
            OUT.print(f"{one.name:12} {verdict.what:28} {verdict.required:18} {verdict.reached:>12}  "
                      f"[{colour}]{ending}[/]")  # fmt: skip


def _run() -> int:
    settings = tyro.cli(Settings, prog="python -m tests.bench.training.headline", description=__doc__)
    with interruptible():
        return run(settings)


def main() -> int:
    """Exit code 1 for a missed floor and for a run that could not be made or judged."""
    return run_command(_run, stopped="stopped; what was judged before is written")


if __name__ == "__main__":
    sys.exit(main())
