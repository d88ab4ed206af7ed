"""What a tensor can be shown as, or asked for with, by its name, type and shape alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from clients.signature import Metadata, TensorSpec

SMALLEST_PICTURE = 4
"""Pixels of a side, below which three axes are no picture."""
MOST_SLIDERS = 32
"""Numbers that have a slider each; more are typed or read from a file."""

Layout = Literal["HWC", "CHW"]
Kind = Literal["picture", "text", "sliders", "array"]


@dataclass(frozen=True)
class PictureForm:
    """How the axes of one item are a picture's; sides of -1 are of any size."""

    layout: Layout
    height: int
    width: int
    channels: int
    leading: int = 0
    """Axes of one before them, as of a model that has its batch in its shape."""

    def pixels(self, array: np.ndarray) -> np.ndarray:
        """[height, width, channels] of one item."""
        found = array.reshape(array.shape[self.leading :])
        return found if self.layout == "HWC" else np.moveaxis(found, 0, -1)

    def tensor(self, pixels: np.ndarray) -> np.ndarray:
        """One item of [height, width, channels]."""
        found = pixels if self.layout == "HWC" else np.moveaxis(pixels, -1, 0)
        return np.ascontiguousarray(found.reshape((1,) * self.leading + found.shape))


def item_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Of one item: without the batch axis."""
    return spec.shape[1:] if spec.batched else spec.shape


def picture_form(spec: TensorSpec) -> PictureForm | None:
    """How a tensor of pixels holds a picture of 1 or 3 channels; None for one that holds none."""
    if spec.dtype not in ("UINT8", "FP32", "FP16"):
        return None
    shape = item_shape(spec)
    leading = len(shape) - 3
    if leading < 0 or any(size not in (1, -1) for size in shape[:leading]):
        return None
    first, second, third = shape[leading:]
    if third in (1, 3) and _are_sides(first, second):
        return PictureForm("HWC", first, second, third, leading)
    if first in (1, 3) and _are_sides(second, third):
        return PictureForm("CHW", second, third, first, leading)
    return None


def input_kind(spec: TensorSpec) -> Kind:
    """What an input is asked for with."""
    shape = item_shape(spec)
    if spec.dtype == "BYTES":
        return "text" if int(np.prod([abs(size) for size in shape])) == 1 else "array"
    if picture_form(spec):
        return "picture"
    if -1 not in shape and int(np.prod(shape)) <= MOST_SLIDERS and spec.dtype != "FP16":
        return "sliders"
    return "array"


def is_latent(metadata: Metadata) -> bool:
    """Whether a model draws a picture from a row of numbers, and takes nothing else."""
    if len(metadata.inputs) != 1 or metadata.stateful:
        return False
    (only,) = metadata.inputs
    shape = item_shape(only)
    draws = [spec for spec in metadata.outputs if picture_form(spec)]
    return only.dtype == "FP32" and len(shape) == 1 and shape[0] > 0 and len(draws) == 1


def reads_characters(metadata: Metadata) -> bool:
    """Whether a model takes tokens and gives, for each or for the last, the probabilities of the next.

    It is one of characters only where its labels say so: `clients.text`.
    """
    inputs = [spec for spec in metadata.inputs if spec.dtype == "INT64" and len(spec.shape) == 2]
    axes = 2 if metadata.stateful else 3
    outputs = [spec for spec in metadata.outputs if spec.dtype == "FP32" and len(spec.shape) == axes]
    return len(metadata.inputs) == len(inputs) == 1 and len(outputs) == 1 and outputs[0].shape[-1] > 1


def numpy_dtype(spec: TensorSpec) -> np.dtype:
    """Of an array for it."""
    return np.dtype(triton_to_np_dtype(spec.dtype))


def named(text: str) -> str:
    """A name that is one in HTML and Python too."""
    return re.sub(r"\W", "_", text) or "_"


def _are_sides(height: int, width: int) -> bool:
    return all(side == -1 or side >= SMALLEST_PICTURE for side in (height, width))
