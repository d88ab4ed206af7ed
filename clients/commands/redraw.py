"""What the commands share that send pictures and write those that come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import FAILED, BadCommand
from clients.commands.picture_input import PictureInput
from clients.commands.sources import STANDARD_INPUT, expanded
from clients.pictures import check_picture_path, picture_tensor, write_picture
from clients.progress import progress
from clients.terminal import print_json


@dataclass(frozen=True, kw_only=True)
class Redraw(Endpoint):
    """A picture in, a picture out."""

    pictures: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PICTURE [PICTURE ...]", help_behavior_hint="(required)"),
    ]
    """Any that Pillow can read, patterns as '*.png', or - for the standard input; they are brought to size, colours and
    range as the model says."""

    out: Path
    """Where to write the picture that comes back; the ending names the format. A folder takes each under its own name,
    which several need."""

    model: str
    """A model on the server with one picture in and one out."""

    invert: bool = False
    """Swap dark and light first: for dark strokes on paper, where the model learnt light ones on black."""

    def run(self, client: Client, console: Console) -> int:
        paths = expanded(self.pictures)
        kept_in = places(self.out, paths)
        pictures = PictureInput(client, self.model, self.invert)
        with progress(console) as bar:
            drawing = bar.add_task("drawing", total=len(paths), visible=len(paths) > 1)
            for request in pictures.requests(paths):
                given = picture_tensor(self.model, client.metadata(self.model).outputs, "output")
                answers = client.infer(self.model, request.inputs)
                for row, path in enumerate(request.paths):
                    write_picture(kept_in[path], answers[given.name][row])
                    self._show(console, path, kept_in[path], _numbers(answers, row))
                bar.advance(drawing, len(request.paths))
        return FAILED if pictures.skipped else 0

    def _show(self, console: Console, path: Path, place: Path, numbers: dict[str, float]) -> None:
        if self.json:
            print_json({"picture": str(path), "kept_in": str(place)} | numbers, indent=None)
            return
        for name, value in numbers.items():
            console.print(f"{name} {value:.6g}", markup=False, highlight=False)
        console.print(f"wrote {place}", markup=False, highlight=False, soft_wrap=True)


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


def _numbers(answers: dict[str, np.ndarray], row: int) -> dict[str, float]:
    """What the model says of one picture in a single number, by the output's name."""
    own = {name: values if values.size == 1 else values[row] for name, values in answers.items()}
    return {name: v.item() for name, v in own.items() if v.size == 1 and np.issubdtype(v.dtype, np.number)}
