"""Image data sets: `uint8` pixels in memory, with labels and a fixed held-out split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clients.preparation import Preparation

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Images:
    """Labelled images; pixels are uint8 [n, height, width, channels], labels int64 [n]."""

    name: str
    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    held_out: NDArray[np.uint8]
    held_out_labels: NDArray[np.int64]
    labels: tuple[str, ...]
    preparation: Preparation | None = None
    """How a picture in a file becomes one like these; None where nobody says it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.shape[1:]
        return height, width, channels

    @cached_property
    def sha256(self) -> str:
        """Hash of names and arrays, so a changed split is another data set, and of how others are made like them."""
        digest = hashlib.sha256("\n".join((self.name, *self.labels)).encode())
        for array in (self.train, self.train_labels, self.held_out, self.held_out_labels):
            digest.update(np.ascontiguousarray(array).data)
        if self.preparation not in (None, Preparation()):
            digest.update(str(self.preparation).encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts and image shape for the manifest."""
        return {
            "train": len(self.train),
            "held_out": len(self.held_out),
            "shape": list(self.shape),
            "classes": len(self.labels),
        }


def digits() -> Images:
    """scikit-learn's 1,797 handwritten digits (8x8, 17 grey levels), resized to 28x28x1.

    Every fifth image of each class is held out. Source: E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    levels = (bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.stack(
        [np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)) for image in levels]
    )
    labels = bunch.target.astype(np.int64)
    held_out = every_nth_of_each_class(labels, round(1 / HELD_OUT_SHARE))
    return Images(
        name="digits",
        train=pixels[~held_out, ..., np.newaxis],
        train_labels=labels[~held_out],
        held_out=pixels[held_out, ..., np.newaxis],
        held_out_labels=labels[held_out],
        labels=tuple("0123456789"),
    )


def spread(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` images evenly spread over all, so that data sorted by class lend every class; fewer where there are."""
    return images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]


def every_nth_of_each_class(labels: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """A mask [len(labels)] with every n-th example of each class: a split that no seed moves."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[n - 1 :: n]] = True
    return chosen
