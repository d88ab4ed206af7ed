"""Sequences of random bits by a seeded generator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 8
SEED = 20_141_020
HELD_OUT = 64
"""Sequences of the score, each twice as long as the longest that is learnt."""


@dataclass(frozen=True)
class Sequences:
    """Random bits by a seeded generator: to learn from, and held-out ones of twice the length."""

    longest: int
    count: int
    name: str = "random bits"

    def draw(self, seed: int, count: int, length: int) -> NDArray[np.uint8]:
        """uint8 [count, length, BITS] of 0 and 1."""
        return np.random.default_rng([SEED, seed]).integers(0, 2, (count, length, BITS), np.uint8)

    @cached_property
    def train(self) -> NDArray[np.uint8]:
        """uint8 [count, longest, BITS]; a batch takes the beginnings of its rows."""
        return self.draw(0, self.count, self.longest)

    @cached_property
    def held_out(self) -> NDArray[np.uint8]:
        """uint8 [HELD_OUT, 2 * longest, BITS]."""
        return self.draw(1, HELD_OUT, 2 * self.longest)

    @cached_property
    def sha256(self) -> str:
        """Hash of both arrays."""
        return hashlib.sha256(self.train.tobytes() + self.held_out.tobytes()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest."""
        return {"train": self.count, "longest": self.longest, "held_out": HELD_OUT, "held_out_length": 2 * self.longest}
