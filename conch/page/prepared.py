"""Pictures of people to the tensors of a model and back."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from clients.pictures import DEFAULT
from clients.preparation import Preparation, pixels, read_picture, resized
from clients.signature import TensorSpec
from conch.page.tensors import PictureForm, numpy_dtype, picture_form

MOST_PIXELS = 40_000_000
"""Of a picture that is read; a larger one is refused before it is unpacked."""
LARGEST_SIDE = 512
"""Pixels of a side that a model leaves free: larger pictures are made so small first."""
IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SCALES = ("0 to 1", "-1 to 1", "0 to 255", "ImageNet's mean and deviation")
"""What a model of floats may have learnt pixels as: its metadata does not say."""


class NamedFile(io.BytesIO):
    """What was uploaded; messages name it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


def uploaded(content: bytes, name: str) -> Image.Image:
    """The picture in a file. Raises UnreadablePicture, also for one of more than MOST_PIXELS."""
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many
    return read_picture(NamedFile(content, name or "the upload"))


def picture_tensor(
    image: Image.Image, spec: TensorSpec, preparation: Preparation | None, scale: str
) -> tuple[np.ndarray, np.ndarray]:
    """The tensor of one item, and the pixels it was made of, UINT8 [height, width, channels]. Raises NoReading."""
    form = picture_form(spec)
    assert form is not None
    if -1 in (form.height, form.width) and max(image.size) > LARGEST_SIDE:
        image = image.copy()
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    seen = pixels(resized(image, form.height, form.width, preparation or DEFAULT), form.channels)
    return form.tensor(scaled(seen, spec, scale)), seen


def scaled(seen: np.ndarray, spec: TensorSpec, scale: str) -> np.ndarray:
    """UINT8 [height, width, channels] in the numbers that the model takes."""
    if spec.dtype == "UINT8":
        return seen
    values = seen.astype(np.float64)
    if scale == "0 to 1":
        values /= 255
    elif scale == "-1 to 1":
        values = values / 127.5 - 1
    elif scale == SCALES[3]:
        colours = seen.shape[-1]
        values = (values / 255 - IMAGENET_MEAN[:colours]) / IMAGENET_STD[:colours]
    return values.astype(numpy_dtype(spec))


def likely_scale(examples: np.ndarray | None) -> str:
    """The one of SCALES in whose range real inputs lie; "0 to 1" where there are none."""
    if examples is None or not examples.size:
        return SCALES[0]
    low, high = float(examples.min()), float(examples.max())
    if low >= 0:
        return "0 to 1" if high <= 1.001 else "0 to 255"
    return "-1 to 1" if low >= -1.001 and high <= 1.001 else SCALES[3]


def shown_pixels(array: np.ndarray, form: PictureForm) -> np.ndarray:
    """UINT8 [height, width, channels] of one item's tensor; floats by the range that they lie in."""
    found = form.pixels(array)
    if found.dtype == np.uint8:
        return found
    values = np.nan_to_num(found.astype(np.float64))
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low >= 0 and high <= 1.001:
        values = values * 255
    elif low >= 0 and high <= 255:
        pass
    elif low >= -1.001 and high <= 1.001:
        values = (values + 1) * 127.5
    else:
        values = (values - low) / max(high - low, 1e-9) * 255
    return np.rint(values).clip(0, 255).astype(np.uint8)


def data_uri(seen: np.ndarray) -> str:
    """UINT8 [height, width, 1, 3 or 4] as a PNG inside a page."""
    file = io.BytesIO()
    Image.fromarray(seen[:, :, 0] if seen.shape[2] == 1 else seen).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
