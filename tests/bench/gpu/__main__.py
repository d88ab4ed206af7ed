"""PyTorch, torch.compile and ONNX Runtime on a GPU, in process and served; writes docs/benchmarks-gpu.md.

python -m tests.bench.gpu --models resnet50 --minutes 9     a part; what is measured is kept, and the rest follows
python -m tests.bench.gpu --dry-run                         what runs without a GPU, on the CPU; writes no figure

The results are kept in <artifacts>/bench-gpu/results.json; a cell that is in there is not measured again.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro
from rich.console import Console

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from serving.commands.run import run as run_command
from serving.server.interruption import interruptible
from tests.bench.gpu import in_process, over_the_wire, results
from tests.bench.gpu.device import peaks
from tests.bench.gpu.floors import floor_checks
from tests.bench.gpu.plan import (
    BATCHES,
    CONCURRENCY,
    CONTENDERS,
    MODELS,
    ON_CPU,
    PRECISIONS,
    InProcess,
    OverTheWire,
)
from tests.bench.gpu.plan import in_process as in_process_cells
from tests.bench.gpu.plan import over_the_wire as over_the_wire_cells
from tests.bench.gpu.report import report
from tests.bench.gpu.subjects import Files

OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)
PAGE = Path("docs/benchmarks-gpu.md")
DRY_BATCH = 2
DRY = "dry run, CPU, not a figure"

Cell = TypeVar("Cell", InProcess, OverTheWire)


class Refused(ConchError):
    """Settings that nothing can be measured with; the message is one line."""


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how long."""

    dry_run: bool = False
    """Without a GPU: export everything, run what runs on a CPU a few times, print and write nothing."""
    part: Literal["all", "in-process", "served"] = "all"
    """Which part of it."""
    models: list[str] = field(default_factory=lambda: list(MODELS))
    """Of: cnn resnet autoencoder gan lstm resnet50."""
    precisions: list[str] = field(default_factory=lambda: list(PRECISIONS))
    """Of: fp32 fp16."""
    batches: list[int] = field(default_factory=lambda: list(BATCHES))
    """In process."""
    concurrency: list[int] = field(default_factory=lambda: list(CONCURRENCY))
    """Callers at once, served."""
    contenders: list[str] = field(default_factory=lambda: list(CONTENDERS))
    """In process; a figure of a few of them is no figure of the page, so others than all need --dry-run."""
    again: bool = False
    """Measure anew what was measured already, as after a change that is to make it faster."""
    minutes: float = 120.0
    """After which no model is begun; the page has what was measured until then."""
    artifacts: Path = field(default_factory=artifacts_folder)
    """The folder with the checkpoints, and for what this leaves."""


def check(settings: Settings) -> None:
    """Refuse what is not on the page. Raises Refused."""
    for flag, given, allowed in (
        ("--models", settings.models, MODELS),
        ("--precisions", settings.precisions, PRECISIONS),
        ("--batches", settings.batches, BATCHES),
        ("--concurrency", settings.concurrency, CONCURRENCY),
        ("--contenders", settings.contenders, CONTENDERS),
    ):
        if unknown := [value for value in given if value not in allowed]:
            raise Refused(f"{flag} {unknown[0]}: there are {', '.join(str(value) for value in allowed)}")
        if not given:
            raise Refused(f"{flag} must not be empty")
    if not settings.minutes > 0:
        raise Refused(f"--minutes {settings.minutes:g}: it must be more than 0")
    if not settings.dry_run and set(settings.contenders) != set(CONTENDERS):
        raise Refused("--contenders is for --dry-run: rounds alternate between all of them")


def measure(settings: Settings) -> int:
    """Measure what is missing, write the page and tell which floors are met."""
    folder = settings.artifacts / "bench-gpu"
    machine = results.this_machine()
    from tests.bench.gpu.preparing import prepare  # after the machine was looked at: the exporter takes seconds

    kept = results.read(folder / "results.json")
    results.check_same(kept, machine)
    kept.machine = machine
    kept.device = kept.device or peaks("cuda")
    deadline = time.monotonic() + settings.minutes * 60

    def left() -> float:
        return deadline - time.monotonic()

    for model in settings.models:
        if left() <= 0:
            break
        prepare(folder, model, _tell)
        kept.models[model] = Files(folder, model).facts()
        done = set() if settings.again else set(kept.cells)
        with closing(_run(settings, model, "cuda", folder, left, done)) as measured:
            for key, result in measured:
                kept.keep(key, result)
                PAGE.write_text(report(kept))
    found = floor_checks(kept.cells)
    for verdict in found:
        if verdict.met is False:
            OUT.print(f"missed: {verdict.what}: {verdict.measured:.2f} of {verdict.least:.1f}", markup=False)
    OUT.print(f"{sum(bool(one.met) for one in found)} of {len(found)} floors met -> {PAGE}")
    return 0


def _run(
    settings: Settings, model: str, device: str, folder: Path, left: Callable[[], float], done: set[str]
) -> Generator[tuple[str, dict[str, Any]]]:
    """The cells of a model that are not `done`, with their results; those of one precision share what is started."""
    for precision in settings.precisions:
        if settings.part != "served" and left() > 0:
            cells = _missing(in_process_cells([model], [precision], settings.batches), done)
            if cells:
                _tell(f"{model}, {precision}, in process")
                # What has no figure because the time was over is to be measured by the next run.
                with closing(in_process.measure(cells, settings.contenders, device, folder, left())) as timed:
                    for cell, result in itertools.takewhile(lambda _: left() > 0, timed):
                        yield cell.key, result
        if settings.part != "in-process" and left() > 0:
            wired = _missing(over_the_wire_cells([model], [precision], settings.concurrency), done)
            if wired:
                _tell(f"{model}, {precision}, served")
                with closing(over_the_wire.measure(wired, device, folder)) as measured:
                    for other, result in itertools.takewhile(lambda _: left() > 0, measured):
                        yield other.key, result


def _missing(cells: list[Cell], done: set[str]) -> list[Cell]:
    return [cell for cell in cells if cell.key not in done]


def dry_run(settings: Settings) -> int:
    """All that a machine without a GPU can run of it, in a folder that is gone afterwards.

    Of batches and callers only the fewest that are asked for: more are the same code, and take a CPU minutes.
    """
    from tests.bench.gpu.preparing import prepare

    unable = set()
    planned = in_process_cells(settings.models, settings.precisions, settings.batches)
    wired = over_the_wire_cells(settings.models, settings.precisions, settings.concurrency)
    OUT.print(f"{DRY}: planned on a GPU are {len(planned)} cells in process and {len(wired)} served")
    settings = replace(settings, batches=[min(settings.batches)], concurrency=[min(settings.concurrency)])
    with tempfile.TemporaryDirectory(prefix="conch-bench-gpu-") as name:
        folder = Path(name)
        device = peaks("cpu")
        OUT.print(f"{DRY}: {device['flops_fp32'] / 1e9:.0f} GFLOP/s, {device['bytes'] / 1e9:.0f} GB/s")
        for model in settings.models:
            prepare(folder, model, _tell, DRY_BATCH)
            item = Files(folder, model).facts()["item"]
            OUT.print(f"{DRY}: {model}: {item['flops']:,} operations, {item['weights']:,} weights an item")
            with closing(_run(settings, model, "cpu", folder, lambda: settings.minutes * 60, set())) as tried:
                for key, result in tried:
                    OUT.print(f"{DRY}: {key}: {_short(result)}", markup=False)
                    unable |= {key} if _failed(result) else set()
    OUT.print("", report(results.Results(Path())), sep="\n", markup=False)
    for key in sorted(unable):
        ERR.print(f"error: {key}: did not run, and a CPU can run it", markup=False)
    return 1 if unable else 0


def _failed(result: dict[str, Any]) -> bool:
    """Whether something has no time that a CPU can give one."""
    why = result.get("why", {})
    if isinstance(why, str):
        return "cuda-python" not in why
    return any(name in ON_CPU and "fp16 on a CPU" not in reason for name, reason in why.items())


def _short(result: dict[str, Any]) -> str:
    times = [f"{name} {timing['median']:.3f} ms" for name, timing in result.get("ms", {}).items()]
    why = result.get("why", {})
    reasons = [why] if isinstance(why, str) else [f"{name}: {reason}" for name, reason in why.items()]
    rate = [f"{result['rate']:,.0f}/s, p99 {result['p99_ms']:.2f} ms"] if "rate" in result else []
    return "; ".join([*times, *rate, *reasons])


def _tell(text: str) -> None:
    ERR.print(text, style="dim", markup=False)


def _chosen() -> int:
    settings = tyro.cli(Settings, prog="python -m tests.bench.gpu", description=__doc__)
    check(settings)
    with interruptible():
        return dry_run(settings) if settings.dry_run else measure(settings)


def main() -> int:
    """Exit code 1 where nothing could be measured, or a dry run did not run."""
    return run_command(_chosen)


if __name__ == "__main__":
    sys.exit(main())
