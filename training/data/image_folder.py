"""Images of one's own: a folder with one subfolder a class."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from clients.preparation import (
    WHITE_OF_16_BITS,
    NoReading,
    Preparation,
    UnreadablePicture,
    deepest_value,
    pixels,
    read_picture,
    resized,
)
from conch.contracts.errors import ConchError
from training.data.images import HELD_OUT_SHARE, Images, every_nth_of_each_class

log = logging.getLogger(__name__)


def image_folder(
    folder: Path,
    side: int,
    skip_broken: bool,
    preparation: Preparation = Preparation(),  # noqa: B008, it is frozen
) -> Images:
    """Every image below `folder`, brought to `side` x `side`; subfolders are the classes, in the order of their names.

    Any format, size and mode that Pillow reads, prepared as a client will: `clients/preparation.py` has the rules. Grey
    where all images are grey, else RGB. Every fifth image of each class is held out.

    Raises:
        ConchError: no classes, an empty class, a picture without a right reading, or a file that is no image (unless
            `skip_broken`, which names it in the log).
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise ConchError(f"{folder}: an image folder has one subfolder a class, at least two; it has {len(classes)}")
    files = [
        [file for file in sorted(entry.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        for entry in classes
    ]
    if preparation.white_level is None:
        every = (file for of_class in files for file in of_class)
        preparation = replace(preparation, white_level=_white_level(folder, every))
    pictures: list[Image.Image] = []
    labels: list[int] = []
    for label, entry in enumerate(classes):
        found = [
            picture for file in files[label] if (picture := _open(file, side, skip_broken, preparation)) is not None
        ]
        if len(found) < round(1 / HELD_OUT_SHARE):
            raise ConchError(f"{entry} has {len(found)} images; a class needs at least {round(1 / HELD_OUT_SHARE)}")
        pictures += found
        labels += [label] * len(found)
    channels = 1 if all(picture.mode == "L" for picture in pictures) else 3
    prepared = np.stack([pixels(picture, channels) for picture in pictures])
    numbers = np.array(labels, np.int64)
    held_out = every_nth_of_each_class(numbers, round(1 / HELD_OUT_SHARE))
    return Images(
        folder.name, prepared[~held_out], numbers[~held_out], prepared[held_out], numbers[held_out],
        tuple(entry.name for entry in classes), preparation,
    )  # fmt: skip


def _white_level(folder: Path, files: Iterable[Path]) -> float | None:
    """The largest number of the fewest bits, from 8, that hold every value of the deep pictures; None for 16 and more.

    A sensor of 12 bits writes files of 16, of which it uses a sixteenth: read as if they used all, they are black.
    """
    deepest = 0
    for file in files:
        with suppress(UnreadablePicture):  # told where it is read for good
            deepest = max(deepest, deepest_value(file))
    white = 2 ** max(8, deepest.bit_length()) - 1
    if deepest == 0 or white >= WHITE_OF_16_BITS:
        return None
    log.warning(
        "%s: no value of its 16-bit pictures is above %d: %d is taken as white; --picture-white-level says otherwise",
        folder, deepest, white,
    )  # fmt: skip
    return white


def _open(file: Path, side: int, skip_broken: bool, preparation: Preparation) -> Image.Image | None:
    try:
        return resized(read_picture(file), side, side, preparation)
    except NoReading as error:
        raise ConchError(f"{error}, or say with --picture-white-level which value is white") from error
    except UnreadablePicture as error:
        if not skip_broken:
            raise ConchError(f"{error}; --skip-broken leaves such out") from error
        log.warning("left out: %s", error)
        return None
