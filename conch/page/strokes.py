"""Strokes drawn by hand, made to look like the pictures that a model learnt: their place, size, thickness and grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

FINE = 8
"""Strokes are drawn so many times larger, and made small with antialiasing."""
PLAIN_SHARE, PLAIN_WITHIN = 0.6, {1: 40, 3: 12}
"""The share of the pixels at the border of pictures of strokes that are the ground, within so much of 255; by channels,
for grey ones may be noisy."""
MOST_POINTS = 20_000
DOT = 0.02
"""Strokes no longer than this share of the sheet are a dot, which stays one."""

Strokes = Sequence[np.ndarray]
"""Each FP64 [points, 2]: x and y, from 0 to 1 within the sheet."""


@dataclass(frozen=True)
class Ink:
    """What the strokes of a model's data have in common; lengths as shares of a picture's shorter side."""

    ground: int = 0
    ink: int = 255
    extent: float = 20 / 28
    """The longer side of the box around a picture's strokes."""
    thickness: float = 2.2 / 28
    centre: tuple[float, float] = (0.5, 0.5)
    """Of mass, y and x."""


MNIST = Ink()
"""Light strokes on black, 20 of 28 pixels large, about their centre of mass.

Source: yann.lecun.com/exdb/mnist, on how its digits were made.
"""
PAPER = Ink(ground=255, ink=0, extent=0.0)
"""Dark on white, where they were drawn."""


def ink_of(pictures: np.ndarray) -> Ink:
    """What the strokes in UINT8 [count, height, width, channels] have in common; PAPER where they are no strokes."""
    grey = pictures.mean(axis=-1)
    sides = min(grey.shape[1:])
    border = np.concatenate([grey[:, [0, -1]].ravel(), grey[:, :, [0, -1]].ravel()])
    ground = float(np.median(border))
    away = np.abs(grey - ground)
    if np.mean(np.abs(border - ground) <= PLAIN_WITHIN[pictures.shape[-1]]) < PLAIN_SHARE or away.max() < 64:
        return PAPER
    peak = float(np.percentile(away[away > away.max() / 4], 90))
    sign = 1.0 if (grey - ground).sum() > 0 else -1.0
    masks = away > peak / 2
    inked = [(mask, weight) for mask, weight in zip(masks, away, strict=True) if mask.any()]
    if not inked or np.mean(masks) > 0.5:
        return PAPER
    return Ink(
        ground=round(ground),
        ink=round(float(np.clip(ground + sign * peak, 0, 255))),
        extent=float(np.median([max(_box(mask)) for mask, _ in inked])) / sides,
        thickness=max(1.0, float(np.median([_thickness(mask) for mask, _ in inked]))) / sides,
        centre=tuple(np.mean([_centre(weight) for _, weight in inked], axis=0).tolist()),
    )


def drawn(strokes: Strokes, height: int, width: int, ink: Ink) -> Image.Image:
    """The strokes as a grey picture of this size, as `ink` has them."""
    side = min(height, width)
    sheet = np.array([width, height], float)
    lines = [np.asarray(stroke, float).reshape(-1, 2)[:MOST_POINTS] * sheet for stroke in strokes]
    points = np.concatenate(lines)
    thickness = ink.thickness * side
    if ink.extent:
        low, high = points.min(axis=0), points.max(axis=0)
        span = float((high - low).max())
        scale = max(ink.extent * side - thickness, 1.0) / span if span > DOT * side else 1.0
        middle, place = (low + high) / 2, sheet / 2
    else:
        scale, middle, place = 1.0, np.zeros(2), np.zeros(2)

    def picture(shift: np.ndarray) -> Image.Image:
        large = Image.new("L", (width * FINE, height * FINE), 0)
        pen = ImageDraw.Draw(large)
        for line in lines:
            _draw(pen, ((line - middle) * scale + place + shift) * FINE, thickness * FINE)
        return large.resize((width, height), Image.Resampling.BOX)

    mask = picture(np.zeros(2))
    if ink.extent and (weight := np.asarray(mask, float)).any():
        y, x = _centre(weight)
        mask = picture(np.array([(ink.centre[1] - x) * width, (ink.centre[0] - y) * height]))
    share = np.asarray(mask, float) / 255
    return Image.fromarray(np.rint(ink.ground + (ink.ink - ink.ground) * share).astype(np.uint8))


def _draw(pen: ImageDraw.ImageDraw, points: np.ndarray, thickness: float) -> None:
    flat = [tuple(point) for point in points.tolist()]
    if len(flat) > 1:
        pen.line(flat, fill=255, width=max(1, round(thickness)), joint="curve")
    for x, y in flat:
        radius = thickness / 2
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _box(mask: np.ndarray) -> tuple[int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def _thickness(mask: np.ndarray) -> float:
    """Pixels: of a long stroke the area is its length by its thickness, and its outline twice its length."""
    padded = np.pad(mask, 1)
    outline = sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in (0, 1))
    # Counted in steps along the axes, an outline is 4 / pi longer than it is, over all directions.
    return 2 * float(mask.sum()) / max(outline * np.pi / 4, 1)


def _centre(weight: np.ndarray) -> tuple[float, float]:
    """Of mass, as shares of height and width."""
    height, width = weight.shape
    total = weight.sum()
    y = float((weight.sum(axis=1) * (np.arange(height) + 0.5)).sum() / total / height)
    x = float((weight.sum(axis=0) * (np.arange(width) + 0.5)).sum() / total / width)
    return y, x
