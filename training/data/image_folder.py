"""Images of one's own: a folder with one subfolder a class."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from conch.contracts.errors import ConchError
from training.data.images import HELD_OUT_SHARE, Images, every_nth_of_each_class

log = logging.getLogger(__name__)


def image_folder(folder: Path, side: int, skip_broken: bool) -> Images:
    """Every image below `folder`, brought to `side` x `side`; subfolders are the classes, in the order of their names.

    Any format, size and mode that Pillow reads. Grey where all images are grey, else RGB; transparency becomes white.
    Every fifth image of each class is held out.

    Raises:
        ConchError: no classes, an empty class, or a file that is no image (unless `skip_broken`, which names it in the
            log).
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise ConchError(f"{folder}: an image folder has one subfolder a class, at least two; it has {len(classes)}")
    pictures: list[Image.Image] = []
    labels: list[int] = []
    for label, entry in enumerate(classes):
        found = [picture for file in sorted(entry.rglob("*")) if file.is_file() and not file.name.startswith(".")
                 if (picture := _open(file, side, skip_broken)) is not None]  # fmt: skip
        if len(found) < round(1 / HELD_OUT_SHARE):
            raise ConchError(f"{entry} has {len(found)} images; a class needs at least {round(1 / HELD_OUT_SHARE)}")
        pictures += found
        labels += [label] * len(found)
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    pixels = np.stack([np.asarray(picture.convert(mode)).reshape(side, side, -1) for picture in pictures])
    numbers = np.array(labels, np.int64)
    held_out = every_nth_of_each_class(numbers, round(1 / HELD_OUT_SHARE))
    return Images(
        folder.name, pixels[~held_out], numbers[~held_out], pixels[held_out], numbers[held_out],
        tuple(entry.name for entry in classes),
    )  # fmt: skip


def _open(file: Path, side: int, skip_broken: bool) -> Image.Image | None:
    try:
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened)
            grey = upright.mode in ("1", "L", "I;16", "I", "F")
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            return ImageOps.fit(upright.convert("L" if grey else "RGB"), (side, side), Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        if not skip_broken:
            raise ConchError(f"{file} is no image that can be read ({error}); --skip-broken leaves such out") from error
        log.warning("%s is left out: %s", file, error)
        return None
