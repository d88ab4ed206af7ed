"""Reproduce textbook results on depth, draw them, and write them into docs/training.md.

    python -m tests.bench.training.studies                 both: ten minutes on two cores
    python -m tests.bench.training.studies initialisation  22 and 30 layers with Var[w] = 2/n and 1/n; digits
    python -m tests.bench.training.studies depth           8 to 56 layers, plain and residual; Fashion-MNIST

Whether a result comes out is computed from the runs. The exit code is 0 where all do.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from conch.contracts.errors import ConchError
from serving.commands.run import run as run_command
from serving.server.interruption import interruptible
from tests.bench.training.studies import depth, initialisation
from tests.bench.training.studies.drawing import draw_depth, draw_initialisation
from tests.bench.training.studies.page import write_page
from tests.bench.training.studies.results import Result, load_average, read_result, result_of
from tests.bench.training.studies.study import Run, Study, run_all
from training.data.public_data import data_folder, fashion_mnist

OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)
DRAW: Mapping[str, Callable[[Sequence[Run], Path], None]] = {
    "initialisation": draw_initialisation,
    "depth": draw_depth,
}


@dataclass(frozen=True)
class Settings:
    """What is studied, and where it is written."""

    studies: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """initialisation, depth or all (the default)."""

    data_dir: str = ""
    """Where public data sets are looked for and kept (default: CONCH_DATA, else ~/.cache/conch)."""

    processes: int = len(os.sched_getaffinity(0))
    """Trainings at the same time, with a thread each."""

    docs: Path = Path("docs")
    """The folder of training.md and training/."""


def shipped(data_dir: str) -> dict[str, Callable[[], Study]]:
    """The studies as they are shown, each made when it is asked for."""
    return {
        "initialisation": initialisation.study,
        "depth": lambda: depth.study(fashion_mnist(data_folder(data_dir))),
    }


def run(settings: Settings, studies: Mapping[str, Callable[[], Study]]) -> int:
    """Make what is asked study by study, each written as soon as it is done; the exit code.

    Raises:
        ConchError: a study or number of processes that cannot be, a folder that cannot be written, data that are
            missing, or an earlier result that is damaged.
    """
    asked = _asked(settings.studies, list(studies))
    if settings.processes < 1:
        raise ConchError(f"--processes {settings.processes}: it must be at least 1")
    folder = settings.docs / "training"
    _refuse_unwritable(folder)
    results = {name: read_result(name, folder) for name in studies}
    for name, study in {name: studies[name]() for name in asked}.items():
        results[name] = result = _make(name, study, settings.processes)
        result.write(folder)
        DRAW[name](result.runs, folder / f"studies-{name}.png")
        write_page(settings.docs / "training.md", results)
        _tell(result)
    made = [results[name] for name in asked]
    return int(not all(result and result.came_out for result in made))


def _asked(names: Sequence[str], known: Sequence[str]) -> list[str]:
    if unknown := sorted(set(names) - {*known, "all"}):
        raise ConchError(f"no study {unknown[0]!r}; known are {', '.join(known)} and all")
    return [name for name in known if not names or "all" in names or name in names]


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConchError(f"{folder} cannot be made: {error.strerror}; give another --docs") from error
    if not os.access(folder, os.W_OK):
        raise ConchError(f"{folder} cannot be written to; give another --docs")


def _make(name: str, study: Study, processes: int) -> Result:
    load, started = load_average(), time.perf_counter()
    runs = run_all(study, processes, name, ERR)
    return result_of(name, study, runs, time.perf_counter() - started, load)


def _tell(result: Result) -> None:
    for claim in result.claims:
        verdict = "[green]came out[/]" if claim.holds else "[red]did not come out[/]"
        OUT.print(f"{result.study}: {claim.says}: {claim.measured}: {verdict}")


def _run() -> int:
    settings = tyro.cli(Settings, prog="python -m tests.bench.training.studies", description=__doc__)
    with interruptible():
        return run(settings, shipped(settings.data_dir))


def main() -> int:
    """Exit code 1 for a result that does not come out and for a study that cannot be made."""
    return run_command(_run, stopped="stopped; what was done before is written")


if __name__ == "__main__":
    sys.exit(main())
