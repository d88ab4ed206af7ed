"""How a picture becomes what a model takes: one description, and the one reading of every file under it.

Training reads its folders by it, the model's configuration carries it (`parameters`, see KEYS), and a client prepares
by what the configuration says: so the same file becomes the same pixels on both sides. It is the one module of
`clients` that other stages import, and needs Pillow and NumPy alone.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
from PIL import Image, ImageColor, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from clients.errors import ClientError, UnreadableInput

Fit = Literal["crop", "stretch"]

FULL_RANGE = "full range"
WHITE_OF_16_BITS = 65535
GREY_MODES = ("1", "L", "LA", "La")  # and those of DEEP_GREY
DEEP_GREY = ("I", "F")  # what modes of more than 8 bits begin with
WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation; Pillow turns such pictures of up to 8 bits round
CUT_CHANNELS = "cut_to_8_bits"  # key of an opened picture's info


class UnreadablePicture(UnreadableInput):
    """A file that is missing, broken or no picture."""


class NoReading(UnreadablePicture):
    """A whole picture whose values have no one meaning in 8 bits, or whose colours nobody converts."""


class UnknownPreparation(ClientError):
    """A description with a key or a value that is not known here."""


@dataclass(frozen=True)
class Preparation:
    """How a file's picture is brought to a model's size, colours and range.

    What has no choice: the first of several frames counts; it is turned upright as its EXIF orientation says; 16-bit
    and 32-bit values and floats are scaled to 0..255 and rounded; what can be seen through is laid over `background`;
    colour becomes grey by ITU-R 601 luma, and grey three equal colours. Profiles and gamma are not applied.
    """

    fit: Fit = "crop"
    """A picture of another shape: "crop" cuts its middle out, "stretch" changes its proportions."""
    resample: str = "lanczos"
    """Filter of the change of size, by Pillow's name; with antialiasing."""
    background: str = "white"
    """What transparency is laid over: a colour as Pillow and CSS name it."""
    white_level: float | None = None
    """What becomes 255 in grey of more than 8 bits, and above which nothing is read. None: 65535 of integers; floats
    are then refused."""

    def __post_init__(self) -> None:
        """Raises UnknownPreparation for a value that is not known."""
        for name, value, allowed in (
            ("fit", self.fit, get_args(Fit)),
            ("resample", self.resample, tuple(one.lower() for one in Image.Resampling.__members__)),
        ):
            if value not in allowed:
                raise UnknownPreparation(f"picture_{name} is {value!r}, allowed are {', '.join(allowed)}")
        try:
            ImageColor.getrgb(self.background)
        except ValueError as error:
            raise UnknownPreparation(
                f"picture_background is {self.background!r}, allowed is a colour's name"
            ) from error
        if self.white_level is not None and not 0 < self.white_level < float("inf"):
            raise UnknownPreparation(
                f"picture_white_level is {self.white_level:g}, allowed is {FULL_RANGE!r} or a finite number above 0"
            )

    def __str__(self) -> str:
        """In words, for a page or a message."""
        fit = {"crop": "the middle of a picture of another shape", "stretch": "a picture of another shape stretched"}
        white = "65535" if self.white_level is None else f"{self.white_level:.15g}"
        return (
            f"{fit[self.fit]}, resampled by {self.resample}, transparency over {self.background}, "
            f"white of more than 8 bits at {white}"
        )

    def parameters(self) -> dict[str, str]:
        """What stands in the `parameters` of a model's configuration."""
        white = FULL_RANGE if self.white_level is None else f"{self.white_level:.15g}"
        return dict(zip(KEYS, (self.fit, self.resample, self.background, white), strict=True))


KEYS = ("picture_fit", "picture_resample", "picture_background", "picture_white_level")
"""The keys of a description, in the order of the fields of Preparation."""


def described(parameters: Mapping[str, str]) -> Preparation | None:
    """The description among a model's `parameters`; None where they hold none of its keys. A key left out is default.

    Raises UnknownPreparation for a key of pictures that is not known here, or a value.
    """
    said = {key: value for key, value in parameters.items() if key.startswith("picture_")}
    if unknown := sorted(set(said) - set(KEYS)):
        raise UnknownPreparation(f"{unknown[0]} is unknown, allowed are {', '.join(KEYS)}")
    values = {key.removeprefix("picture_"): value for key, value in said.items()}
    level = values.pop("white_level", FULL_RANGE)
    try:
        white_level = None if level == FULL_RANGE else float(level)
    except ValueError as error:
        raise UnknownPreparation(
            f"picture_white_level is {level!r}, allowed is {FULL_RANGE!r} or a finite number above 0"
        ) from error
    return Preparation(**values, white_level=white_level) if said else None  # type: ignore[arg-type]  # checked there


def chosen_preparation(fit: Fit | None, white_level: float | None) -> Preparation | None:
    """The description where any part of it is said; None where nothing is. Raises UnknownPreparation."""
    if fit is None and white_level is None:
        return None
    return Preparation(fit=fit or "crop", white_level=white_level)


def read_picture(path: Path | BinaryIO) -> Image.Image:
    """The picture in a file, upright, its mode and values as they are; of several frames the first.

    Messages name an open file by its `str`.

    Raises UnreadablePicture.
    """
    with _reading(path) as image:
        image.info[CUT_CHANNELS] = _is_cut(image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def deepest_value(path: Path) -> int:
    """The largest value in a picture of integers of more than 8 bits, 0 for every other picture.

    Of 16 bits a channel Pillow keeps the upper 8: the largest that they can stand for. Raises UnreadablePicture.
    """
    with _reading(path) as image:
        if image.mode.startswith("I"):
            return int(np.asarray(image).max())
        return int(np.asarray(image.convert("RGB")).max()) * 256 + 255 if _is_cut(image) else 0


def resized(image: Image.Image, height: int, width: int, preparation: Preparation) -> Image.Image:
    """The picture in 8 bits, opaque, at its size: mode "L" where its own is grey, else "RGB".

    A side of -1 is free: both free leave the size as it is, one follows the other in proportion. Raises NoReading.
    """
    flat = _flat(image, preparation)
    size = _size(flat.size, height, width)
    if flat.size == size:
        return flat
    resample = Image.Resampling[preparation.resample.upper()]
    return ImageOps.fit(flat, size, resample) if preparation.fit == "crop" else flat.resize(size, resample)


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """UINT8 [height, width, channels] of a picture in mode "L" or "RGB"; `channels` is 1 or 3."""
    coloured = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(coloured, dtype=np.uint8).reshape(image.height, image.width, channels)


@contextmanager
def _reading(path: Path | BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """The opened file, its pixels not yet loaded; whatever Pillow raises of it becomes UnreadablePicture."""
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise UnreadablePicture(f"{path} is no image that Pillow can read") from error
    except FileNotFoundError as error:
        raise UnreadablePicture(f"no such file: {path}") from error
    except Exception as error:  # a broken file shows in many ways: Pillow's decoders share no exception
        raise UnreadablePicture(f"cannot read {path}: {error}") from error


def _is_cut(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow will keep the upper 8 of 16 bits a channel, before it has loaded the pixels: RGB;16B and the like.

    "BGR;16" is another thing, 16 bits for all three.
    """
    return not image.mode.startswith(DEEP_GREY) and any(re.search(";16[BLN]", str(tile)) for tile in image.tile)


def _flat(image: Image.Image, preparation: Preparation) -> Image.Image:
    """8 bits a channel, nothing to see through, "L" or "RGB"."""
    name = getattr(image, "filename", "") or "a picture"
    grey = image.mode in GREY_MODES or image.mode.startswith(DEEP_GREY)
    if image.info.get(CUT_CHANNELS) and preparation.white_level not in (None, WHITE_OF_16_BITS):
        raise NoReading(
            f"{name}: of its 16 bits a channel (mode {image.mode}) only the upper 8 can be read, and white is "
            f"{preparation.white_level:.15g} of {WHITE_OF_16_BITS}; save it with 8 bits a channel"
        )
    if image.mode.startswith(DEEP_GREY):
        image = _eight_bits(image, name, preparation.white_level)
    try:
        if image.has_transparency_data:
            over = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", over.size, preparation.background), over)
        return image.convert("L" if grey else "RGB")
    except Exception as error:  # Pillow has no conversion for this mode, or lacks the library for it
        raise NoReading(f"{name}: mode {image.mode} cannot be converted: {error}; save it as RGB") from error


def _eight_bits(image: Image.Image, name: str, white_level: float | None) -> Image.Image:
    """Grey of more than 8 bits, 0..white to 0..255 (rounded): mode "L", or "LA" where one value is transparent."""
    if image.mode == "F" and white_level is None:
        raise NoReading(f"{name}: mode F, floats, does not say which value is white; save it with 8 or 16 bits")
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        raise NoReading(f"{name}: mode {image.mode} of a TIFF in which 0 is white, unturned; save it with 0 as black")
    white = WHITE_OF_16_BITS if white_level is None else white_level
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= white:  # nor where one is no number
        raise NoReading(
            f"{name}: mode {image.mode} with values from {low:.15g} to {high:.15g}, read are 0 to {white:.15g}; "
            "save it with 8 or 16 bits"
        )
    grey = Image.fromarray(np.rint(values.astype(np.float64) * 255 / white).astype(np.uint8))
    key = image.info.get("transparency")
    if key is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))


def _size(own: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Width and height, where -1 of either is free."""
    if width == -1 and height == -1:
        return own
    if width == -1:
        return max(1, round(own[0] * height / own[1])), height
    if height == -1:
        return width, max(1, round(own[1] * width / own[0]))
    return width, height
