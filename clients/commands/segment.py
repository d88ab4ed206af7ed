"""conch call segment canvas.png --out classes.png"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from clients.class_labels import label_of
from clients.client import Client
from clients.commands.exit_codes import FAILED
from clients.commands.finding import find_model
from clients.commands.picture_answers import PictureCommand, labels_of, places
from clients.commands.picture_input import PictureInput
from clients.commands.sources import expanded
from clients.drawing import with_classes
from clients.errors import WrongKind
from clients.pictures import picture_tensor, write_picture
from clients.signature import Metadata
from clients.terminal import print_json

INTEGERS = ("UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64")
NEEDS = "one picture in and a class for each of its pixels out, integers [batch, height, width]"


@dataclass(frozen=True, kw_only=True)
class Segment(PictureCommand):
    """Say which classes a picture's pixels are of, and draw them over it.

    conch call segment canvas.png --out classes.png
    """

    out: Path | None = None
    """Where to write the picture with its classes over it, class 0 left as it is. A folder takes each under its own
    name, which several need."""

    labels: Path | None = None
    """A file with the names of the classes, a line each, class 0 first. Default: what the model's
    configuration calls them, else they are shown by number."""

    model: str | None = None
    """A model on the server with one picture in and a class for each pixel out. Default: the only one that has."""

    def run(self, client: Client, console: Console) -> int:
        paths = expanded(self.pictures)
        kept_in = places(self.out, paths) if self.out else {}
        model = find_model(client, self.model, NEEDS, classes_of)
        metadata = client.metadata(model)
        output = classes_of(metadata)
        labels = labels_of(self.labels, metadata, output)
        given = PictureInput(client, model, self.invert)
        for answer in self.answers(client, console, given, paths, [output]):
            classes, place = answer.outputs[output], kept_in.get(answer.path)
            if place:
                write_picture(place, with_classes(answer.pixels, classes))
            self._show(console, answer.path, place, shares(classes), labels)
        return FAILED if given.skipped else 0

    def _show(
        self, console: Console, path: Path, place: Path | None, found: dict[int, float], labels: tuple[str, ...]
    ) -> None:
        if self.json:
            listed = [
                {"class": kind, "label": label_of(labels, kind) if labels else None, "share": share}
                for kind, share in found.items()
            ]
            print_json({"picture": str(path), "kept_in": str(place) if place else None, "found": listed}, indent=None)
            return
        said = ", ".join(f"{label_of(labels, kind)} {share:.1%}" for kind, share in found.items())
        console.print(f"{path}: {said}", markup=False, highlight=False, soft_wrap=True)
        if place:
            console.print(f"wrote {place}", markup=False, highlight=False, soft_wrap=True)


def shares(classes: np.ndarray) -> dict[int, float]:
    """Of each class that integers [height, width] have, its share of all pixels."""
    kinds, counts = np.unique(classes, return_counts=True)
    return {int(kind): float(count / classes.size) for kind, count in zip(kinds, counts, strict=True)}


def classes_of(metadata: Metadata) -> str:
    """The name of the output with a class a pixel. Raises WrongKind."""
    picture_tensor(metadata.name, metadata.inputs, "input")
    found = [spec.name for spec in metadata.outputs if spec.dtype in INTEGERS and len(spec.shape) == 3]
    if len(metadata.inputs) != 1 or len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in (*metadata.inputs, *metadata.outputs))
        raise WrongKind(f"{metadata.name}: needs {NEEDS}; it has: {has}")
    return found[0]
