"""The first part: all contenders of a model and precision, a process each, in alternating rounds."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.gpu.device import memory_used, watched
from tests.bench.gpu.plan import InProcess
from tests.bench.rounds import Contender, ContenderFailed, Timing, race, start

CELL_SECONDS = {"cuda": 3.0, "cpu": 0.0}
USE_SECONDS = 1.5
RELEASE_SECONDS = 5.0


def measure(
    cells: Sequence[InProcess], names: Sequence[str], device: str, folder: Path, seconds: float
) -> Generator[tuple[InProcess, dict[str, Any]]]:
    """Cells of one model and precision, each with its result as it is measured.

    A result has `ms` (a timing for each contender) and `why` (the reason for each that has none). On a GPU the last
    cell has the `use` of each contender alone, and `memory`: the bytes of the GPU's that its process held.

    Args:
        seconds: after which the contenders are ended, wherever they are.
    """
    model, precision = cells[0].model, cells[0].precision
    commands = {
        name: [sys.executable, "-m", "tests.bench.gpu.contender", name, precision, device, str(folder)]
        for name in names
    }
    # What torch.compile found out is kept, so that a run that is split does not search again.
    environment = {"TORCHINDUCTOR_CACHE_DIR": str((folder / "inductor").resolve())}
    with start(commands, environment, seconds) as running:
        alive = list(running)
        for cell in cells:
            why: dict[str, str] = {}
            times: dict[str, Timing] = {}
            ready = _ready(alive, cell, why)
            while ready and not times:
                try:
                    times = race(ready, model, cell.batch, CELL_SECONDS[device])
                except ContenderFailed:  # the others are to have their figures
                    ready = _ready(alive, cell, why)
            row: dict[str, Any] = {"ms": {name: asdict(timing) for name, timing in times.items()}, "why": why}
            if device == "cuda" and cell is cells[-1]:
                row["use"] = {contender.name: _use(contender, cell) for contender in ready}
                row["memory"] = {contender.name: _memory(contender) for contender in ready}
            yield cell, row


def _ready(alive: list[Contender], cell: InProcess, why: dict[str, str]) -> list[Contender]:
    """Those that run the cell; `why` gets the reasons of the others, and `alive` loses those whose process ended."""
    ready = []
    for contender in list(alive):
        try:
            if contender.turn(cell.model, cell.batch) is None:
                why[contender.name] = contender.why
            else:
                ready.append(contender)
        except ContenderFailed as failed:
            why[contender.name] = str(failed)
            alive.remove(contender)
    return ready


def _use(contender: Contender, cell: InProcess) -> dict[str, float]:
    """How busy one contender keeps the GPU when it runs alone, call after call."""
    with watched() as use, suppress(ContenderFailed):
        deadline = time.perf_counter() + USE_SECONDS
        while time.perf_counter() < deadline:
            contender.turn(cell.model, cell.batch)
    return use.summary()


def _memory(contender: Contender) -> int:
    """Bytes that are free once the contender has ended; of all ways to ask, the one that works in containers too."""
    before = memory_used()
    contender.stop()
    deadline = time.perf_counter() + RELEASE_SECONDS
    while (freed := before - memory_used()) <= 0 and time.perf_counter() < deadline:
        time.sleep(0.1)
    return max(freed, 0)
