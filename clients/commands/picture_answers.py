"""What the commands share that send pictures and show an answer to each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from clients.class_labels import class_labels
from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand
from clients.commands.picture_input import PictureInput
from clients.commands.sources import STANDARD_INPUT, told
from clients.errors import UnreadableInput
from clients.pictures import check_picture_path
from clients.progress import progress
from clients.signature import Metadata


@dataclass(frozen=True)
class Answered:
    """A picture and what the model says of it."""

    path: Path
    pixels: np.ndarray
    """UINT8 [height, width, 1 or 3], as the model took it."""
    outputs: dict[str, np.ndarray]
    """Of this picture alone, by name; without the axis of the batch."""


@dataclass(frozen=True, kw_only=True)
class PictureCommand(Endpoint):
    """A command that takes pictures."""

    pictures: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PICTURE [PICTURE ...]", help_behavior_hint="(required)"),
    ]
    """Any that Pillow can read, patterns as '*.png', or - for the standard input; they are brought to size, colours and
    range as the model says."""

    invert: bool = False
    """Swap dark and light first: for dark strokes on paper, where the model learnt light ones on black."""

    def answers(
        self,
        client: Client,
        console: Console,
        given: PictureInput,
        paths: Sequence[Path],
        outputs: Sequence[str] | None = None,
    ) -> Iterator[Answered]:
        """What the model says of each of `paths`, in their order; all `outputs`, or those that are named."""
        with progress(console) as bar:
            asking = bar.add_task("asking", total=len(paths), visible=len(paths) > 1)
            for request in given.requests(paths):
                (pixels,) = request.inputs.values()
                found = client.infer(given.model, request.inputs, outputs)
                for row, path in enumerate(request.paths):
                    yield Answered(path, pixels[row], {name: array[row] for name, array in found.items()})
                bar.advance(asking, len(request.paths))


def places(out: Path, paths: Sequence[Path]) -> dict[Path, Path]:
    """Where what is drawn of each of `paths` is written: `out`, or under its own name in that folder.

    Raises BadCommand where two would share a place, and UnwritableOutput.
    """
    if not out.is_dir():
        if len(paths) > 1:
            raise BadCommand(f"--out {out}: several pictures need a folder that is there")
        found = {paths[0]: out}
    else:
        found = {path: out / ("stdin.png" if path == STANDARD_INPUT else path.name) for path in paths}
    taken: dict[Path, Path] = {}
    for path, place in found.items():
        if place in taken:
            raise BadCommand(f"--out {out}: {taken[place]} and {path} would both become {place}")
        taken[place] = path
        check_picture_path(place)
    return found


def labels_of(path: Path | None, metadata: Metadata, output: str) -> tuple[str, ...]:
    """The names of the classes that `output` has the numbers of, class 0 first: of the file with a line each, and
    without one those that the model's configuration says.

    Raises UnreadableInput, and WrongKind for a configuration that cannot be read.
    """
    if path is None:
        return class_labels(metadata, output)
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"--labels {told(path)} cannot be read ({error})") from error
