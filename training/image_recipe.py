"""What recipes that learn from images share: which data sets there are, and the flags that choose one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clients.preparation import Fit, Preparation, UnknownPreparation
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
    picture_fit: Fit = "crop"
    """How a picture of another shape is brought to that of the model, here and by every client: crop cuts its middle
    out, stretch changes its proportions."""
    picture_white_level: float | None = None
    """The value that is white in grey pictures of more than 8 bits. Without: the largest of the fewest bits, 8 to 16,
    that hold all values of the folder's; pictures of floats are then refused."""

    def __post_init__(self) -> None:
        """Refuse what no picture can be prepared by."""
        super().__post_init__()
        try:
            self.preparation()
        except UnknownPreparation as error:
            raise ConchError(f"{error}") from error

    def preparation(self) -> Preparation:
        """How a picture is brought to the model's size, colours and range."""
        return Preparation(fit=self.picture_fit, white_level=self.picture_white_level)

    def dataset(self) -> Images:
        """The images, read or downloaded.

        Raises:
            ConchError: no such data set (the known ones are listed), or it cannot be had or read.
        """
        if self.data == "digits":
            return replace(digits(), preparation=self.preparation())
        if self.data in PUBLIC:
            return replace(PUBLIC[self.data](data_folder(self.data_dir)), preparation=self.preparation())
        if Path(self.data).is_dir():
            return image_folder(Path(self.data), self.image_size, self.skip_broken, self.preparation())
        raise ConchError(
            f"--data {self.data}: no such image data set; known are digits, {', '.join(PUBLIC)}, "
            "and the path of a folder with one subfolder a class"
        )
