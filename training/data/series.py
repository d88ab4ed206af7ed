"""Series of numbers by seeded generators."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 600
TRAIN, HELD_OUT = 12, 4
DELAY = 17
SUBSTEPS = 10
SEED = 19_770_715


@dataclass(frozen=True)
class Series:
    """Sequences of a series, float32 [n, steps + 1, 1], in about -1..1."""

    name: str
    train: NDArray[np.float32]
    held_out: NDArray[np.float32]

    @cached_property
    def sha256(self) -> str:
        """Hash of both arrays."""
        return hashlib.sha256(self.name.encode() + self.train.tobytes() + self.held_out.tobytes()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest."""
        return {"train": len(self.train), "held_out": len(self.held_out), "steps": self.train.shape[1] - 1}


def mackey_glass() -> Series:
    """dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, a value a unit of time, as tanh(x - 1).

    Sequences begin at random near x = 1.2, and 500 units of time are left out; Euler's steps are a tenth of a unit.
    Source: Mackey and Glass, 1977; scaled as Jaeger and Haas, 2004.
    """
    rows, history = TRAIN + HELD_OUT, DELAY * SUBSTEPS
    x = np.empty((rows, history + (500 + STEPS + 1) * SUBSTEPS))
    x[:, : history + 1] = 1.2 + 0.2 * np.random.default_rng(SEED).uniform(-1, 1, (rows, 1))
    for t in range(history, x.shape[1] - 1):
        delayed = x[:, t - history]
        x[:, t + 1] = x[:, t] + (0.2 * delayed / (1 + delayed**10) - 0.1 * x[:, t]) / SUBSTEPS
    values = np.tanh(x[:, -(STEPS + 1) * SUBSTEPS :: SUBSTEPS] - 1).astype(np.float32)[..., np.newaxis]
    return Series("mackey-glass", values[:TRAIN], values[TRAIN:])
