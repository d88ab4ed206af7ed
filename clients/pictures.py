"""Pictures in and out: files to what a model takes, and what a model gives to files."""

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from clients.errors import UnwritableOutput, WrongKind
from clients.preparation import Preparation, UnknownPreparation, described, pixels, read_picture, resized
from clients.signature import Metadata, TensorSpec
from clients.writing import check_writable, write_whole

__all__ = [
    "DEFAULT",
    "as_png",
    "check_picture_path",
    "encoded_tensor",
    "grid",
    "picture_tensor",
    "preparation_of",
    "prepare",
    "read_picture",
    "to_image",
    "write_picture",
]

DEFAULT = Preparation()
"""How a picture is prepared for a model that does not say it."""

ENCODING = "input_encoding"  # of a model's parameters: what files its one input has the bytes of
GAP = 2  # pixels between the pictures of a grid


def picture_tensor(model: str, specs: Iterable[TensorSpec], way: str) -> TensorSpec:
    """The one of `specs` that holds pictures: UINT8 [batch, height, width, 1 or 3]. `way` is "input" or "output".

    Raises WrongKind when there is none or more than one.
    """
    specs = list(specs)
    found = [spec for spec in specs if spec.dtype == "UINT8" and len(spec.shape) == 4 and spec.shape[3] in (1, 3)]
    if len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in specs)
        raise WrongKind(f"{model}: needs one {way} UINT8 [batch, height, width, 1 or 3], it has: {has}")
    return found[0]


def encoded_tensor(metadata: Metadata) -> TensorSpec | None:
    """The input that takes the bytes of PNG files, UINT8 [batch, any]; None where the model takes pixels.

    Raises WrongKind for another encoding.
    """
    encoding = metadata.parameters.get(ENCODING)
    if encoding is None:
        return None
    fits = [spec for spec in metadata.inputs if spec.dtype == "UINT8" and len(spec.shape) == 2]
    if encoding != "png" or len(fits) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in metadata.inputs)
        raise WrongKind(f"{metadata.name}: {ENCODING} {encoding!r} of {has}, known is 'png' of one UINT8 [batch, any]")
    return fits[0]


def as_png(image: Image.Image, invert: bool = False) -> np.ndarray:
    """UINT8 [1, bytes], a PNG file of the picture in 8 bits of red, green and blue, nothing to see through.

    Raises NoReading.
    """
    flat = pixels(resized(image, -1, -1, DEFAULT), channels=3)
    buffer = io.BytesIO()
    to_image(255 - flat if invert else flat).save(buffer, "PNG", compress_level=1)  # the fastest
    return np.frombuffer(buffer.getvalue(), np.uint8)[np.newaxis]


def preparation_of(metadata: Metadata) -> Preparation | None:
    """How the model's configuration says that pictures are prepared; None where it says nothing of it.

    Raises UnknownPreparation naming the model.
    """
    try:
        return described(metadata.parameters)
    except UnknownPreparation as error:
        raise UnknownPreparation(
            f"{metadata.name}: {error}; correct its config.pbtxt, or update this client"
        ) from error


def prepare(
    image: Image.Image, spec: TensorSpec, invert: bool = False, preparation: Preparation | None = None
) -> np.ndarray:
    """UINT8 [1, height, width, channels] as `spec` has them, made as `preparation` says; DEFAULT without.

    An axis of any size follows the picture. `invert` swaps dark and light, for dark strokes on paper where the model
    learnt light ones on black. Raises NoReading.
    """
    _, height, width, channels = spec.shape
    prepared = pixels(resized(image, height, width, preparation or DEFAULT), channels)
    return (255 - prepared if invert else prepared)[np.newaxis]


def to_image(pixels: np.ndarray) -> Image.Image:
    """A picture of UINT8 [height, width, 1 or 3]."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def grid(pictures: np.ndarray) -> np.ndarray:
    """UINT8 [count, height, width, channels] tiled row by row, as near to a square as it goes, with grey gaps."""
    count, height, width, channels = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), fill_value=128, dtype=np.uint8
    )
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def check_picture_path(path: Path) -> None:
    """Raises UnwritableOutput when `write_picture` could not write there."""
    check_writable(path)
    _format(path)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write UINT8 [height, width, 1 or 3] in the format that the ending of `path` names.

    Raises UnwritableOutput.
    """
    image_format = _format(path)

    def write(file: BinaryIO) -> None:
        try:
            to_image(pixels).save(file, format=image_format)
        except ValueError as error:  # a format that has no such mode
            raise UnwritableOutput(f"cannot write {path} as {image_format}: {error}; try .png") from error

    write_whole(path, write)


def _format(path: Path) -> str:
    known = {ending: name for ending, name in Image.registered_extensions().items() if name in Image.SAVE}
    if path.suffix.lower() not in known:
        raise UnwritableOutput(f"cannot write {path}: no picture format ends with {path.suffix!r}; try .png")
    return known[path.suffix.lower()]
