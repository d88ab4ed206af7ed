"""Sprites by a seeded generator: one white shape on black, of which all is known that there is to know."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.images import Images

SIDE = 32
SHAPES = ("square", "disc", "triangle")
NEAREST, FARTHEST = 9.0, 23.0
"""Where the middle of a sprite may lie, in pixels from the left and from the top."""
SMALLEST, LARGEST = 3.0, 8.0
"""From a sprite's middle to its sides, in pixels."""
FACTORS = ("left", "top", "size", "shape")
RANGES = ((8.0, 24.0), (13.0, 19.0), (4.0, 8.0))
"""Of the left, top and size of sprites that are images: each changes another share of the pixels, for what changes as
much as another is not to be told from a mixture of both."""
SEED = 20_150_311


@dataclass(frozen=True)
class Sprites:
    """Sprites uint8 [n, SIDE, SIDE, 1] with their factors float32 [n, 4] in the order of `FACTORS`; shapes by number.

    Those of `train` come in sets: in each but one factor is the same, that of the number in `varied`.
    """

    train: NDArray[np.uint8]
    """[sets, a set, SIDE, SIDE, 1]."""
    train_factors: NDArray[np.float32]
    """[sets, a set, 4]."""
    varied: NDArray[np.int64]
    """[sets]: an index into `FACTORS`."""
    held_out: NDArray[np.uint8]
    held_out_factors: NDArray[np.float32]
    name: str = "sprites"

    @cached_property
    def sha256(self) -> str:
        """Hash of every array."""
        arrays = (self.train, self.train_factors, self.varied, self.held_out, self.held_out_factors)
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest."""
        sets, of_a_set = self.train.shape[:2]
        return {"train": sets * of_a_set, "sets": sets, "held_out": len(self.held_out), "shape": [SIDE, SIDE, 1]}


def drawn(factors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Sprites uint8 [..., SIDE, SIDE, 1] of factors [..., 4]; a pixel on an edge is grey as far as it is inside."""
    left, top, size, shape = (factors[..., index, np.newaxis, np.newaxis] for index in range(4))
    x = np.arange(SIDE) + 0.5 - left
    y = (np.arange(SIDE) + 0.5)[:, np.newaxis] - top
    square = np.maximum(abs(x), abs(y)) - size
    disc = np.hypot(x, y) - size
    triangle = np.maximum(y - size, (2 * abs(x) - y - size) / np.sqrt(5))
    outside = np.select([shape == 0, shape == 1], [square, disc], triangle)
    return np.rint(255 * np.clip(0.5 - outside, 0, 1)).astype(np.uint8)[..., np.newaxis]


def random_factors(random: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float32]:
    """Float32 [*shape, 4]."""
    places = random.uniform(NEAREST, FARTHEST, (*shape, 2))
    sizes = random.uniform(SMALLEST, LARGEST, (*shape, 1))
    return np.concatenate([places, sizes, random.integers(0, len(SHAPES), (*shape, 1))], -1).astype(np.float32)


def sprites(sets: int = 320, of_a_set: int = 16, held_out: int = 512) -> Sprites:
    """Sets for training, and sprites that are held out."""
    random = np.random.default_rng(SEED)
    varied = np.arange(sets, dtype=np.int64) % len(FACTORS)
    factors = np.repeat(random_factors(random, (sets, 1)), of_a_set, axis=1)
    others = random_factors(random, (sets, of_a_set))
    rows = np.arange(sets)
    factors[rows, :, varied] = others[rows, :, varied]
    held_out_factors = random_factors(random, (held_out,))
    return Sprites(drawn(factors), factors, varied, drawn(held_out_factors), held_out_factors)


@dataclass(frozen=True)
class SpriteImages(Images):
    """Sprites as images, their classes the shapes, with the factors of those that are held out, float32 [n, 4]."""

    held_out_factors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, len(FACTORS)), np.float32))

    @cached_property
    def sha256(self) -> str:
        """Hash of what all images are hashed by, and of the factors."""
        digest = hashlib.sha256(super().sha256.encode())
        digest.update(self.held_out_factors.tobytes())
        return digest.hexdigest()


def sprite_images(train: int = 6000, held_out: int = 2000) -> SpriteImages:
    """Sprites that have nothing to do with each other."""
    random = np.random.default_rng(SEED)
    low, high = zip(*RANGES, strict=True)
    quantities = random.uniform(low, high, (train + held_out, len(RANGES)))
    shape = random.integers(0, len(SHAPES), (train + held_out, 1))
    factors = np.concatenate([quantities, shape], 1).astype(np.float32)
    images, shapes = drawn(factors), factors[:, FACTORS.index("shape")].astype(np.int64)
    return SpriteImages(
        "sprites", images[:train], shapes[:train], images[train:], shapes[train:], SHAPES,
        held_out_factors=factors[train:],
    )  # fmt: skip
