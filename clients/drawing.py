"""What models say of a picture, drawn over it."""

import colorsys
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from clients.pictures import to_image

SMALLEST = 256
"""Pixels that the shorter side of a drawn picture has at least, so that a box and its words have room."""
Box = tuple[float, float, float, float]


def with_classes(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """UINT8 [height, width, 1 or 3] with integers [height, width] in colours over it, 0 left as it is.

    UINT8 [height, width, 3].
    """
    picture = np.asarray(to_image(pixels).convert("RGB"))
    colours = np.array([colour(kind) for kind in range(int(classes.max()) + 1)], np.uint8)[classes.clip(min=0)]
    mixed = (picture.astype(np.uint16) + colours) // 2
    return np.where(classes[..., np.newaxis] > 0, mixed, picture).astype(np.uint8)


def with_boxes(pixels: np.ndarray, boxes: Iterable[tuple[Box, str]]) -> np.ndarray:
    """UINT8 [height, width, 1 or 3], larger by a whole number where it is small, with boxes and their words.

    A box is left, top, right and bottom in pixels. UINT8 [height, width, 3].
    """
    scale = -(-SMALLEST // min(pixels.shape[:2]))
    height, width = (side * scale for side in pixels.shape[:2])
    picture = to_image(pixels).convert("RGB").resize((width, height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for number, (box, words) in enumerate(boxes):
        left, right = sorted((box[0] * scale, box[2] * scale))
        top, bottom = sorted((box[1] * scale, box[3] * scale))
        pen.rectangle((left, top, right, bottom), outline=colour(number + 1), width=2)
        pen.rectangle(pen.textbbox((left + 3, top + 1), words), fill=(0, 0, 0))
        pen.text((left + 3, top + 1), words, fill=colour(number + 1))
    return np.asarray(picture)


def colour(number: int) -> tuple[int, int, int]:
    """A bright colour, each number far from its neighbours'."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
