"""What the commands share that send pictures and write those that come back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from clients.client import Client
from clients.commands.exit_codes import FAILED
from clients.commands.picture_answers import PictureCommand, places
from clients.commands.picture_input import PictureInput
from clients.commands.sources import expanded
from clients.pictures import picture_tensor, write_picture
from clients.terminal import print_json


@dataclass(frozen=True, kw_only=True)
class Redraw(PictureCommand):
    """A picture in, a picture out."""

    out: Path
    """Where to write the picture that comes back; the ending names the format. A folder takes each under its own name,
    which several need."""

    model: str
    """A model on the server with one picture in and one out."""

    def run(self, client: Client, console: Console) -> int:
        paths = expanded(self.pictures)
        kept_in = places(self.out, paths)
        given = PictureInput(client, self.model, self.invert)
        for answer in self.answers(client, console, given, paths):
            drawn = picture_tensor(self.model, client.metadata(self.model).outputs, "output").name
            write_picture(kept_in[answer.path], answer.outputs[drawn])
            self._show(console, answer.path, kept_in[answer.path], _numbers(answer.outputs))
        return FAILED if given.skipped else 0

    def _show(self, console: Console, path: Path, place: Path, numbers: dict[str, float]) -> None:
        if self.json:
            print_json({"picture": str(path), "kept_in": str(place)} | numbers, indent=None)
            return
        for name, value in numbers.items():
            console.print(f"{name} {value:.6g}", markup=False, highlight=False)
        console.print(f"wrote {place}", markup=False, highlight=False, soft_wrap=True)


def _numbers(outputs: dict[str, np.ndarray]) -> dict[str, float]:
    """What the model says of a picture in a single number, by the output's name."""
    return {name: v.item() for name, v in outputs.items() if v.size == 1 and np.issubdtype(v.dtype, np.number)}
