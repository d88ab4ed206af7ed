"""What recipes that learn from images share: which data sets there are, and the flags that choose one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from conch.contracts.errors import ConchError
from training.data.image_folder import image_folder
from training.data.images import Images, digits
from training.data.public_data import cifar10, data_folder, fashion_mnist, mnist
from training.recipe import Recipe

PUBLIC: Mapping[str, Callable[[Path], Images]] = {"mnist": mnist, "fashion-mnist": fashion_mnist, "cifar10": cifar10}


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """A recipe whose data are labelled images."""

    data: str = "digits"
    """digits (embedded), mnist, fashion-mnist, cifar10, or the path of a folder with one subfolder a class."""
    data_dir: str = ""
    """Where public data sets are looked for and kept (default: CONCH_DATA, else ~/.cache/conch)."""
    image_size: int = 28
    """Images of a folder are brought to this many pixels a side."""
    skip_broken: bool = False
    """Leave out files of a folder that are no images, instead of refusing it."""

    def dataset(self) -> Images:
        """The images, read or downloaded.

        Raises:
            ConchError: no such data set (the known ones are listed), or it cannot be had or read.
        """
        if self.data == "digits":
            return digits()
        if self.data in PUBLIC:
            return PUBLIC[self.data](data_folder(self.data_dir))
        if Path(self.data).is_dir():
            return image_folder(Path(self.data), self.image_size, self.skip_broken)
        raise ConchError(
            f"--data {self.data}: no such image data set; known are digits, {', '.join(PUBLIC)}, "
            "and the path of a folder with one subfolder a class"
        )
