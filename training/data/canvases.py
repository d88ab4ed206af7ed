"""Digits on a cluttered canvas, by a seeded generator: what is where, pixel by pixel and box by box."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clients.preparation import Preparation
from training.data.images import digits

SIDE = 64
MOST = 4
"""Digits on a canvas; each has at least one."""
TRAIN, HELD_OUT = 1200, 200
SMALLEST, LARGEST = 18, 28
"""Sides of a digit with its margins, in pixels."""
INK = 96
"""The least grey of a digit's own pixels."""
TRIES = 20
"""Places at which a digit is tried before it is left out: canvases are full at times."""
FRAGMENTS, FRAGMENT = 6, 7
NOISE = 5.0
SEED = 20_150_518


@dataclass(frozen=True)
class Scenes:
    """Canvases and what is on them; rows beyond a canvas's digits have class -1 and an empty box."""

    images: NDArray[np.uint8]
    """[n, height, width, 1]."""
    masks: NDArray[np.uint8]
    """[n, height, width]: 0 the background, 1 + digit where one is."""
    boxes: NDArray[np.float32]
    """[n, MOST, 4]: left, top, right, bottom in pixels, around a digit's own pixels."""
    classes: NDArray[np.int64]
    """[n, MOST]."""


@dataclass(frozen=True)
class Canvases:
    """Two sets of scenes, made of the training and of the held-out digits."""

    name: str
    train: Scenes
    held_out: Scenes
    labels: tuple[str, ...] = tuple("0123456789")
    preparation: Preparation = field(default_factory=Preparation)

    @cached_property
    def sha256(self) -> str:
        """Hash of every array."""
        digest = hashlib.sha256(self.name.encode())
        for scenes in (self.train, self.held_out):
            for array in (scenes.images, scenes.masks, scenes.boxes, scenes.classes):
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"train": len(self.train.images), "held_out": len(self.held_out.images), "side": SIDE}


def canvases() -> Canvases:
    """Canvases of scikit-learn's digits, the same at each call."""
    source, random = digits(), np.random.default_rng(SEED)
    return Canvases(
        "canvases",
        _scenes(TRAIN, source.train[..., 0], source.train_labels, random),
        _scenes(HELD_OUT, source.held_out[..., 0], source.held_out_labels, random),
    )


def _scenes(count: int, pixels: NDArray[np.uint8], labels: NDArray[np.int64], random: np.random.Generator) -> Scenes:
    scenes = Scenes(
        np.zeros((count, SIDE, SIDE, 1), np.uint8), np.zeros((count, SIDE, SIDE), np.uint8),
        np.zeros((count, MOST, 4), np.float32), np.full((count, MOST), -1, np.int64),
    )  # fmt: skip
    for row in range(count):
        _draw(scenes, row, pixels, labels, random)
    return scenes


def _draw(
    scenes: Scenes, row: int, pixels: NDArray[np.uint8], labels: NDArray[np.int64], random: np.random.Generator
) -> None:
    """Fragments of digits, over them digits that do not touch each other, and noise over all."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(FRAGMENTS):
        top, left = random.integers(0, pixels.shape[1] - FRAGMENT, 2)
        y, x = random.integers(0, SIDE - FRAGMENT, 2)
        piece = pixels[random.integers(len(pixels)), top : top + FRAGMENT, left : left + FRAGMENT]
        canvas[y : y + FRAGMENT, x : x + FRAGMENT] = piece
    taken, placed = np.zeros((SIDE, SIDE), bool), 0
    for which in random.integers(len(pixels), size=random.integers(1, MOST + 1)):
        digit = _ink(pixels[which], int(random.integers(SMALLEST, LARGEST + 1)))
        place = _free(taken, digit.shape, random)
        if place is None:
            continue
        rows, columns = place
        taken[rows, columns], canvas[rows, columns] = True, digit
        scenes.masks[row, rows, columns][digit >= INK] = labels[which] + 1
        scenes.boxes[row, placed] = (columns.start, rows.start, columns.stop, rows.stop)
        scenes.classes[row, placed] = labels[which]
        placed += 1
    noisy = canvas + random.normal(0, NOISE, canvas.shape)
    scenes.images[row, ..., 0] = np.clip(np.rint(noisy), 0, 255)


def _ink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A digit of another size, cut to its own pixels."""
    digit = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    rows, columns = (np.flatnonzero((digit >= INK).any(axis)) for axis in (1, 0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free(taken: NDArray[np.bool_], shape: tuple[int, ...], random: np.random.Generator) -> tuple[slice, slice] | None:
    """Rows and columns of that shape where nothing is yet."""
    for _ in range(TRIES):
        y, x = (int(random.integers(0, SIDE - side + 1)) for side in shape)
        place = slice(y, y + shape[0]), slice(x, x + shape[1])
        if not taken[place].any():
            return place
    return None
