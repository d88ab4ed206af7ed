"""Photographs to be painted, and the picture in whose manner."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clients.preparation import Preparation, UnreadableInput, pixels, read_picture, resized
from conch.contracts.errors import ConchError
from training.data.photographs import Photographs, Pixels, photographs

SIDE, PIECES = 192, 60
"""Of the mosaic, in pixels, and how many pieces of glass it has."""
LEAD = 2.2
"""Half the width of the lead between two pieces, in pixels."""
GLASS = ((214, 40, 40), (247, 127, 0), (252, 191, 73), (0, 109, 119), (29, 53, 87), (131, 24, 105), (234, 226, 183))
SMALLEST = 16
"""Pixels that a side of a style has at least: the loss network pools twice."""
SEED = 20_150_826


@dataclass(frozen=True)
class Styled:
    """Photographs, and a picture uint8 [height, width, 3] whose style they are to have."""

    name: str
    photographs: Photographs
    style: Pixels

    @cached_property
    def sha256(self) -> str:
        """Hash of all pictures."""
        digest = hashlib.sha256(f"{self.photographs.sha256} {self.style.shape}".encode())
        digest.update(self.style.tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return self.photographs.describe() | {"style": list(self.style.shape)}


def styled(style: str) -> Styled:
    """The photographs of `photographs()` with the mosaic, or with the picture of a file.

    Raises:
        ConchError: there is no such file, or it is no picture.
    """
    return Styled("photographs", photographs(), mosaic() if style == "mosaic" else _of_file(Path(style)))


def mosaic() -> Pixels:
    """Stained glass: the Voronoi cells of random points in a few colours, with lead between them."""
    random = np.random.default_rng(SEED)
    points = random.uniform(0, SIDE, (PIECES, 2))
    places = np.indices((SIDE, SIDE)).reshape(2, -1, 1).transpose(1, 2, 0)
    distances = np.linalg.norm(places - points, axis=2)
    nearest, second = np.partition(distances, 1, axis=1)[:, :2].T
    brightness = random.uniform(0.8, 1.1, PIECES)[:, np.newaxis]
    glass = (np.array(GLASS)[random.integers(len(GLASS), size=PIECES)] * brightness)[distances.argmin(1)]
    glass = np.where((second - nearest < 2 * LEAD)[:, np.newaxis], 20, glass)
    return np.clip(glass, 0, 255).astype(np.uint8).reshape(SIDE, SIDE, 3)


def _of_file(path: Path) -> Pixels:
    """As many pixels as the mosaic's at most, so that strokes are as large."""
    try:
        picture = read_picture(path)
    except UnreadableInput as error:
        raise ConchError(f"--style {path}: {error}; allowed are mosaic and the path of a picture") from error
    scale = min(1.0, SIDE / min(picture.size))
    width, height = (max(SMALLEST, round(side * scale)) for side in picture.size)
    return pixels(resized(picture, height, width, Preparation()), 3)
