"""How fast the same ONNX files are served: ours, PyTriton, FastAPI, LitServe and BentoML, driven by wrk.

python -m tests.bench.serving --rounds 1 --models cnn --contenders Conch PyTriton     a quick look, written nowhere

A whole run (all contenders and models, five rounds or more) writes the section "serving" of docs/benchmarks.md and
docs/benchmarks-serving.png.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console

from conch.contracts.artifacts import artifacts_folder
from serving.commands.run import run as run_command
from serving.server.interruption import interruptible
from tests.bench.sections import write_section
from tests.bench.serving.contenders import CONTENDERS, read_subjects
from tests.bench.serving.floors import LEAST_ROUNDS, FloorCheck, floor_checks
from tests.bench.serving.measure import measure
from tests.bench.serving.report import report, write_plot
from tests.bench.serving.wrk import BenchError, find_wrk
from tests.bench.verdicts import Verdict, keep

OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)
DOCS = Path("docs")
MODELS = ["cnn", "resnet", "resnet_int8"]
CONNECTIONS = [1, 16, 64]
BUSY = 0.7
"""The load average above which something else runs on the machine."""


@dataclass(frozen=True)
class Settings:
    """What is compared, and for how long."""

    rounds: int = LEAST_ROUNDS
    """Turns of each contender."""

    seconds: int = 2
    """Of each measurement, in each round."""

    limit: float = 16.0
    """Minutes that the run may take: no round is begun that would not end in time."""

    models: list[str] = field(default_factory=lambda: list(MODELS))
    """Published classifiers of 28x28 images; an int8 variant that is not published is left out."""

    contenders: list[str] = field(default_factory=lambda: list(CONTENDERS))
    """By name."""

    artifacts: Path = field(default_factory=artifacts_folder)
    """The folder whose models/ is served."""


def run(settings: Settings) -> int:
    """Measure, show, and write where the run is a whole one."""
    if unknown := [name for name in settings.contenders if name not in CONTENDERS]:
        raise BenchError(f"no contender {unknown[0]!r}; there are: {', '.join(CONTENDERS)}")
    if min(settings.rounds, settings.seconds, settings.limit) <= 0 or not settings.models or not settings.contenders:
        raise BenchError("--rounds, --seconds and --limit must be above 0, --models and --contenders not empty")
    find_wrk()
    subjects = read_subjects(settings.artifacts / "models", settings.models)
    if not subjects:
        raise BenchError(f"none of {', '.join(settings.models)} is published in {settings.artifacts / 'models'}")
    load = os.getloadavg()[0]
    if load > BUSY:
        ERR.print(
            f"[yellow]the machine is busy[/] (load {load:.1f}): the figures are not to be kept; stop what else runs"
        )
    measured = measure(
        [CONTENDERS[name] for name in settings.contenders], subjects, CONNECTIONS, settings.rounds, settings.seconds,
        settings.limit * 60, lambda text: ERR.print(text, style="dim", markup=False),
    )  # fmt: skip
    models = [subject.model for subject in subjects]
    found = floor_checks(measured, min(LEAST_ROUNDS, settings.rounds))
    section = report(measured, found, models, CONNECTIONS, load)
    keep("serving", [_verdict(one) for one in found if one.floor.model in models])
    OUT.print(section, markup=False)
    whole = (
        measured.rounds >= LEAST_ROUNDS
        and set(settings.contenders) == set(CONTENDERS)
        and all(len(measured.samples.get((name, model, count), [])) >= LEAST_ROUNDS
                for name in CONTENDERS for model in models for count in CONNECTIONS)
        and {"cnn", "resnet"} <= set(models)
    )  # fmt: skip
    if not whole:
        ERR.print(f"not written into {DOCS / 'benchmarks.md'}: that takes all contenders, cnn and resnet, and "
                  f"{LEAST_ROUNDS} valid rounds of each")  # fmt: skip
        return 1 if measured.invalid else 0
    write_plot(measured, models, CONNECTIONS, DOCS / "benchmarks-serving.png")
    write_section(DOCS / "benchmarks.md", "serving", section)
    OUT.print(f"{sum(verdict.met for verdict in found)} of {len(found)} floors met -> {DOCS / 'benchmarks.md'}")
    return 0


def _verdict(check: FloorCheck) -> Verdict:
    floor = check.floor
    return Verdict(
        f"{floor.model}, {floor.connections} connections, against {floor.peer}", f"at least {floor.factor:.2f} times",
        "not measured" if check.factor is None else f"{check.factor:.2f} times", check.met,
    )  # fmt: skip


def _run() -> int:
    settings = tyro.cli(Settings, prog="python -m tests.bench.serving", description=__doc__)
    with interruptible():
        return run(settings)


def main() -> int:
    """Exit code 1 where nothing could be measured, or a short run had an invalid round."""
    return run_command(_run)


if __name__ == "__main__":
    sys.exit(main())
