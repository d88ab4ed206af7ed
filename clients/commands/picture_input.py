"""What the commands that send pictures share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from clients.client import Client
from clients.commands.sources import opened
from clients.errors import UnreadableInput
from clients.pictures import DEFAULT, as_png, encoded_tensor, picture_tensor, preparation_of, prepare, read_picture
from clients.preparation import Preparation
from clients.signature import Metadata, TensorSpec
from clients.terminal import say

MOST_AT_ONCE = 64
"""Pictures in a request, where the model takes as many: they are in memory until their answer is there."""


@dataclass(frozen=True)
class Request:
    """Files, and their pixels by the name of the model's input."""

    paths: Sequence[Path]
    inputs: dict[str, np.ndarray]


class PictureInput:
    """The one picture input of a model, which files are prepared for as its configuration says.

    Where that says nothing, the default is taken and a line on stderr says so. A model that takes PNG files gets
    each as one, in its own size and in a request of its own. `skipped` counts files that could not be read.
    """

    def __init__(self, client: Client, model: str, invert: bool) -> None:
        self._client, self.model, self._invert = client, model, invert
        self.skipped = 0

    def requests(self, paths: Sequence[Path]) -> Iterator[Request]:
        """The files in their order, as many to a request as the model takes.

        Pictures of another size begin another request, where the model takes any. Of several files, one that cannot be
        read is told on stderr and skipped. Raises ClientError.
        """
        batch: list[tuple[Path, np.ndarray]] = []
        for path, pixels in self._pixels(paths):
            if batch and (len(batch) == self._most or batch[0][1].shape != pixels.shape):
                yield self._request(batch)
                batch = []
            batch.append((path, pixels))
        if batch:
            yield self._request(batch)

    def _pixels(self, paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray]]:
        for path in paths:
            try:
                image = read_picture(opened(path))  # before the server is asked: a wrong file needs none
                yield path, self._prepared(image)
            except UnreadableInput as error:
                if len(paths) == 1:
                    raise
                self.skipped += 1
                say(f"error: {error}")

    def _prepared(self, image: Image.Image) -> np.ndarray:
        if encoded_tensor(self._metadata):
            return as_png(image, self._invert)
        return prepare(image, self._spec, self._invert, self._preparation)

    def _request(self, batch: list[tuple[Path, np.ndarray]]) -> Request:
        paths, pixels = zip(*batch, strict=True)
        return Request(paths, {self._spec.name: np.concatenate(pixels)})

    @property
    def _metadata(self) -> Metadata:
        return self._client.metadata(self.model)

    @cached_property
    def _spec(self) -> TensorSpec:
        return encoded_tensor(self._metadata) or picture_tensor(self.model, self._metadata.inputs, "input")

    @cached_property
    def _most(self) -> int:
        return min(1 if self._metadata.stateful else max(self._metadata.max_batch_size, 1), MOST_AT_ONCE)

    @cached_property
    def _preparation(self) -> Preparation:
        if said := preparation_of(self._metadata):
            return said
        say(
            f"note: {self.model} does not say how pictures are prepared (picture_fit in its config.pbtxt); "
            f"taken: {DEFAULT}"
        )
        return DEFAULT
