"""Pictures in and out: files to what a model takes, and what a model gives to files."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clients.errors import UnreadableInput, UnwritableOutput, WrongKind
from clients.signature import TensorSpec
from clients.writing import check_writable, write_whole

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


def read_picture(path: Path) -> Image.Image:
    """The picture in a file, turned upright as its EXIF data says; of several frames the first.

    Raises UnreadableInput for a file that is missing, broken or no picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise UnreadableInput(f"{path} is no image that Pillow can read") from error
    except FileNotFoundError as error:
        raise UnreadableInput(f"no such file: {path}") from error
    except Exception as error:  # a broken file shows in many ways: Pillow's decoders share no exception
        raise UnreadableInput(f"cannot read {path}: {error}") from error


def prepare(image: Image.Image, spec: TensorSpec, invert: bool = False) -> np.ndarray:
    """UINT8 [1, height, width, channels] as `spec` has them; an axis of any size keeps the picture's own.

    Transparency is laid over white, colour becomes grey where one channel is wanted, and a picture of another size is
    resampled with antialiasing (Lanczos) and stretched to fit, not cropped. `invert` swaps dark and light, for dark
    strokes on paper where the model learnt light ones on black.
    """
    _, height, width, channels = spec.shape
    try:
        flat = _opaque(image).convert("L" if channels == 1 else "RGB")
    except ValueError as error:
        raise UnreadableInput(f"a picture in mode {image.mode} cannot be converted: {error}") from error
    size = (flat.width if width == -1 else width, flat.height if height == -1 else height)
    if flat.size != size:
        flat = flat.resize(size, Image.Resampling.LANCZOS)
    if invert:
        flat = ImageOps.invert(flat)
    return np.asarray(flat, dtype=np.uint8).reshape(1, size[1], size[0], channels)


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


def _opaque(image: Image.Image) -> Image.Image:
    """8 bits a channel and nothing to see through."""
    if image.mode == "F":
        raise UnreadableInput("a picture of floats has no fixed white; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip and not scale
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image
