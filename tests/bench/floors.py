"""The floors that the speed of an export is held to, and whether each is met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.bench.contenders import COMPILED, EAGER, FP32, INT8

CONVOLUTIONAL = ("cnn", "resnet", "autoencoder", "gan")


@dataclass(frozen=True)
class Floor:
    """One comparison: `slower` takes at least `factor` times as long as `faster`."""

    models: tuple[str, ...]
    batch: int
    faster: str
    slower: str
    factor: float


FLOORS = (
    Floor(CONVOLUTIONAL, 1, FP32, EAGER, 2.0),
    Floor(CONVOLUTIONAL, 1, FP32, COMPILED, 1.2),
    Floor(("lstm",), 1, FP32, EAGER, 1.3),
    Floor((*CONVOLUTIONAL, "lstm"), 32, FP32, EAGER, 1.0),
    Floor(("resnet",), 32, INT8, FP32, 2.0),
)
LARGEST_INT8_RATIO = 0.35


@dataclass(frozen=True)
class FloorCheck:
    """A floor, what was measured, and whether that is enough."""

    model: str
    where: str
    what: str
    required: str
    measured: str
    met: bool


def floor_checks(rows: list[dict[str, Any]]) -> list[FloorCheck]:
    """Every floor for every model and number of threads; a contender that was not measured does not meet its."""
    found = []
    for floor in FLOORS:
        for row in rows:
            if row["model"] not in floor.models or row["batch"] != floor.batch:
                continue
            factor = ratio(row, floor.slower, floor.faster)
            found.append(
                FloorCheck(
                    row["model"], f"batch {row['batch']}, {row['threads']} thread{'s' * (row['threads'] > 1)}",
                    f"{floor.faster} against {floor.slower}", f"at least {floor.factor:.1f} times as fast",
                    "not measured" if factor is None else f"{factor:.2f} times",
                    factor is not None and factor >= floor.factor,
                )
            )  # fmt: skip
    sizes: dict[str, int] = next((row["bytes"] for row in rows if row["model"] == "resnet"), {})
    share = sizes[INT8] / sizes[FP32] if INT8 in sizes and FP32 in sizes else None
    shown = "not measured" if share is None else f"{share:.3f}"
    met = share is not None and share <= LARGEST_INT8_RATIO
    return [
        *found,
        FloorCheck("resnet", "file", "int8 against fp32", f"at most {LARGEST_INT8_RATIO} of the bytes", shown, met),
    ]


def ratio(row: dict[str, Any], slower: str, faster: str) -> float | None:
    """How many times as fast `faster` is, by medians; None where one was not measured."""
    times = row["ms"]
    return times[slower]["median"] / times[faster]["median"] if slower in times and faster in times else None
