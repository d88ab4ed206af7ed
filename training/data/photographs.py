"""Photographs that scikit-learn and scikit-image carry in their packages: some to learn from, others held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.preparation import Preparation

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Photographs:
    """Colour photographs uint8 [height, width, 3], each of its own size, sides of a multiple of 4."""

    name: str
    train: tuple[Pixels, ...]
    held_out: tuple[Pixels, ...]
    preparation: Preparation = field(default_factory=Preparation)

    @cached_property
    def sha256(self) -> str:
        """Hash of every photograph."""
        digest = hashlib.sha256(self.name.encode())
        for photograph in (*self.train, *self.held_out):
            digest.update(f"{photograph.shape}".encode())
            digest.update(photograph.tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"train": len(self.train), "held_out": len(self.held_out)}

    def patches(self, count: int, side: int, seed: int) -> Pixels:
        """Squares [count, side, side, 3] of the training photographs, the same for the same numbers."""
        return _patches(self.train, count, side, seed)

    def held_out_patches(self, count: int, side: int, seed: int) -> Pixels:
        """The same of photographs that nothing was learnt from."""
        return _patches(self.held_out, count, side, seed)


def photographs() -> Photographs:
    """Seven photographs: a temple, an astronaut, a cup, a motorcycle and a clock; held out are a flower and a cat."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    temple, flower = load_sample_images().images
    clock = np.repeat(data.clock()[..., np.newaxis], 3, axis=2)
    motorcycle = data.stereo_motorcycle()[0]
    train = (temple, data.astronaut(), data.coffee(), motorcycle, clock)
    return Photographs("photographs", tuple(map(_whole, train)), (_whole(flower), _whole(data.chelsea())))


def _whole(photograph: NDArray[Any]) -> Pixels:
    """Cut to sides of a multiple of 4."""
    height, width = (side // 4 * 4 for side in photograph.shape[:2])
    return np.ascontiguousarray(photograph[:height, :width, :3], np.uint8)


def _patches(photographs: tuple[Pixels, ...], count: int, side: int, seed: int) -> Pixels:
    random = np.random.default_rng(seed)
    chosen = np.empty((count, side, side, 3), np.uint8)
    for row in range(count):
        photograph = photographs[random.integers(len(photographs))]
        top, left = (random.integers(0, length - side + 1) for length in photograph.shape[:2])
        chosen[row] = photograph[top : top + side, left : left + side]
    return chosen
