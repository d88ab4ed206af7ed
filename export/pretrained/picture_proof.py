"""An image processor's graph against the Python one, on files of photographs in the ways that PNG has."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from export.pretrained.picture_graph import PICTURE, PIXELS
from export.pretrained.picture_steps import Steps
from export.proof.runtime import onnx_predict

MODES = ("L", "LA", "P", "RGBA", "1")
"""Of Pillow's: grey, with transparency, a palette, colour with transparency, black and white."""
LEAST_WITHIN_ONE = 0.9995
MOST_LEVELS = 8
"""Of 255. A pixel that lies exactly on the border of the filter may be left out in float32 and taken in in float64."""


@dataclass(frozen=True)
class PictureProof:
    """What was compared, in levels of 255."""

    files: int
    values: int
    off_by_one: float
    """The share of values that are a level off."""
    off_by_more: float
    largest: float
    worst: str
    """The file that `largest` was seen on."""

    @property
    def passed(self) -> bool:
        """Whether 9,995 of 10,000 values are within a level, and none is off by more than `MOST_LEVELS`."""
        return self.off_by_more <= 1 - LEAST_WITHIN_ONE and self.largest <= MOST_LEVELS

    def as_json(self) -> dict[str, Any]:
        """For parity.json."""
        return asdict(self) | {"passed": self.passed}

    def __str__(self) -> str:
        """In a line."""
        return (
            f"{self.files} PNG files: {100 * self.off_by_one:.2g} % of the values a level of 255 off the Python "
            f"processor's, {100 * self.off_by_more:.2g} % more, at most {self.largest:.3g} ({self.worst})"
        )


def png_of(picture: Image.Image) -> np.ndarray:
    """The bytes of a PNG file, uint8 [bytes]."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def prove_pictures(graph: Path, steps: Steps, processor: Any, pictures: Sequence[Image.Image]) -> PictureProof:
    """Compare every file's pixels, each alone and with bytes of zero behind it."""
    predict = onnx_predict(graph)
    deviation = np.array(steps.deviation, np.float64).reshape(3, 1, 1)
    files = values = one = more = 0
    largest, worst = 0.0, ""
    for picture in _every_way(pictures):
        encoded = np.pad(png_of(picture), (0, files % 3))
        got = predict({PICTURE: encoded[np.newaxis]})[PIXELS][0]
        expected = processor(picture.convert("RGB"), return_tensors="np")[PIXELS][0]
        levels = np.abs(got.astype(np.float64) - expected) * deviation / steps.scale
        files, values = files + 1, values + levels.size
        one += int(((levels > 0.5) & (levels <= 1.5)).sum())
        more += int((levels > 1.5).sum())
        if (found := float(levels.max())) > largest or not worst:
            largest, worst = found, f"{picture.mode} {list(picture.size)}"
    return PictureProof(files, values, one / values, more / values, largest, worst)


def _every_way(pictures: Sequence[Image.Image]) -> Iterator[Image.Image]:
    """Each picture, and the first in each mode and in shapes that are hard to resize."""
    yield from pictures
    first = pictures[0]
    yield from (first.convert(mode) for mode in MODES)
    width, height = first.size
    for shape in (
        (1, 1),
        (3, height),
        (width, 5),
        (max(1, width // 3), height),
        (width, max(1, height // 3)),
        (17, 19),
    ):
        yield first.crop((0, 0, *shape))
    yield first.resize((2 * width, 2 * height), Image.Resampling.LANCZOS)
