"""What the figures are held to, and whether each is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.gpu.plan import (
    BATCHES,
    COMPILED,
    GRAPHS,
    MODELS,
    NHWC,
    PRECISIONS,
    TRANSPORTS,
    InProcess,
    OverTheWire,
)

SERVED_CONCURRENCY = 64
SERVED_SHARE = 0.8

Cells = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class FloorCheck:
    """A floor, and what was measured of it; `measured` is None where it was not."""

    what: str
    least: float
    measured: float | None

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        return None if self.measured is None else self.measured >= self.least


def floor_checks(cells: Cells) -> list[FloorCheck]:
    """Every floor, met, missed or not measured."""
    found = [
        FloorCheck(
            f"{model}, {precision}, batch 1: ONNX Runtime with CUDA graphs against torch.compile with CUDA graphs",
            1.0, graphs_against_compiled(cells, InProcess(model, precision, 1)),
        )
        for model in MODELS
        for precision in PRECISIONS
    ]  # fmt: skip
    found.append(
        FloorCheck(
            "resnet50, fp16, batch 128: ONNX Runtime with CUDA graphs against torch.compile channels last",
            1.0, graphs_against_compiled(cells, InProcess("resnet50", "fp16", 128)),
        )
    )  # fmt: skip
    found += [
        FloorCheck(
            f"resnet50, {precision}, {SERVED_CONCURRENCY} at once over {transport}: served against in process",
            SERVED_SHARE, _served_share(cells, precision, transport),
        )
        for precision in PRECISIONS
        for transport in TRANSPORTS
    ]  # fmt: skip
    return found


def graphs_against_compiled(cells: Cells, cell: InProcess) -> float | None:
    """How many times as fast as torch.compile ONNX Runtime with CUDA graphs is, in the better of its two layouts."""
    ours, theirs = fastest(cells, cell, (GRAPHS, NHWC)), fastest(cells, cell, (COMPILED,))
    return theirs / ours if ours and theirs else None


def fastest(cells: Cells, cell: InProcess, names: tuple[str, ...] | None = None) -> float | None:
    """Milliseconds of the fastest of `names` (all without); None where none was measured."""
    times = cells.get(cell.key, {}).get("ms", {})
    return min((times[name]["median"] for name in names or times if name in times), default=None)


def in_process_rate(cells: Cells, model: str, precision: str) -> float | None:
    """Items a second in process at the best batch size up to the callers' number, by ONNX Runtime with CUDA graphs."""
    sizes = [batch for batch in BATCHES if batch <= SERVED_CONCURRENCY]
    times = {batch: fastest(cells, InProcess(model, precision, batch), (GRAPHS, NHWC)) for batch in sizes}
    return max((batch * 1000 / ms for batch, ms in times.items() if ms), default=None)


def _served_share(cells: Cells, precision: str, transport: str) -> float | None:
    ceiling = in_process_rate(cells, "resnet50", precision)
    served = cells.get(OverTheWire("resnet50", precision, transport, SERVED_CONCURRENCY).key, {}).get("rate")
    return served / ceiling if served and ceiling else None
