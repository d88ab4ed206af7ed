"""conch call detect canvas.png --out boxes.png"""

from collections.abc import Callable, Mapping, Sequence
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
from clients.drawing import Box, with_boxes
from clients.errors import WrongKind
from clients.pictures import picture_tensor, write_picture
from clients.signature import Metadata, TensorSpec
from clients.terminal import print_json

NEEDS = "one picture in; boxes FP32 [batch, n, 4], scores FP32 [batch, n] and classes, integers [batch, n], out"
INTEGERS = ("UINT8", "INT8", "INT32", "INT64")


@dataclass(frozen=True)
class Found:
    """One thing on a picture."""

    kind: int
    """The number of its class."""
    score: float
    box: Box
    """Left, top, right and bottom, in pixels of the picture as the model took it."""


@dataclass(frozen=True)
class Names:
    """What a detector calls its outputs."""

    boxes: str
    scores: str
    classes: str
    count: str | None
    """How many of the boxes are meant; None where all are."""

    @property
    def asked(self) -> list[str]:
        """All of them."""
        return [self.boxes, self.scores, self.classes, *([self.count] if self.count else [])]


@dataclass(frozen=True, kw_only=True)
class Detect(PictureCommand):
    """Say what is on pictures and where, and draw boxes around it.

    A model of any names of its outputs is taken, told by their types and shapes; boxes are left, top, right and bottom
    in pixels.

    conch call detect canvas.png --out boxes.png
    """

    out: Path | None = None
    """Where to write the picture with the boxes. A folder takes each under its own name, which several need."""

    min_score: float = 0.3
    """The score from which something is shown."""

    labels: Path | None = None
    """A file with the names of the classes, a line each, class 0 first. Default: what the model's
    configuration calls them, else they are shown by number."""

    model: str | None = None
    """A model on the server with boxes, scores and classes out. Default: the only one that has."""

    def run(self, client: Client, console: Console) -> int:
        paths = expanded(self.pictures)
        kept_in = places(self.out, paths) if self.out else {}
        model = find_model(client, self.model, NEEDS, outputs_of)
        metadata = client.metadata(model)
        names = outputs_of(metadata)
        labels = labels_of(self.labels, metadata, names.classes)
        given = PictureInput(client, model, self.invert)
        for answer in self.answers(client, console, given, paths, names.asked):
            found, place = things(names, answer.outputs, self.min_score), kept_in.get(answer.path)
            if place:
                boxes = [(thing.box, f"{label_of(labels, thing.kind)} {thing.score:.2f}") for thing in found]
                write_picture(place, with_boxes(answer.pixels, boxes))
            self._show(console, answer.path, place, found, labels)
        return FAILED if given.skipped else 0

    def _show(
        self, console: Console, path: Path, place: Path | None, found: list[Found], labels: tuple[str, ...]
    ) -> None:
        if self.json:
            listed = [
                {
                    "class": one.kind,
                    "label": label_of(labels, one.kind) if labels else None,
                    "score": one.score,
                    "box": list(one.box),
                }
                for one in found
            ]
            print_json({"picture": str(path), "kept_in": str(place) if place else None, "found": listed}, indent=None)
            return
        console.print(f"{path}: {len(found)} found", markup=False, highlight=False, soft_wrap=True)
        for thing in found:
            line = (
                f"  {label_of(labels, thing.kind)}  {thing.score:.4f}  box {', '.join(map('{:.1f}'.format, thing.box))}"
            )
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if place:
            console.print(f"wrote {place}", markup=False, highlight=False, soft_wrap=True)


def things(names: Names, outputs: Mapping[str, np.ndarray], least: float) -> list[Found]:
    """What the outputs have of one picture: so many as they count, and of those what reaches `least`."""
    boxes, scores, classes = outputs[names.boxes], outputs[names.scores], outputs[names.classes]
    count = int(outputs[names.count].item()) if names.count else len(scores)
    return [
        Found(int(classes[place]), float(scores[place]), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
        for place, box in enumerate(boxes[:count])
        if scores[place] >= least
    ]


def outputs_of(metadata: Metadata) -> Names:
    """What the outputs are called, told by their types and shapes. Raises WrongKind."""
    picture_tensor(metadata.name, metadata.inputs, "input")
    boxes = _only(metadata, metadata.outputs, lambda spec: spec.dtype == "FP32" and spec.shape[2:] == (4,))
    alike = [spec for spec in metadata.outputs if len(spec.shape) == 2 and spec.shape[1] == boxes.shape[1]]
    scores = _only(metadata, alike, lambda spec: spec.dtype == "FP32")
    classes = _only(metadata, alike, lambda spec: spec.dtype in INTEGERS)
    rest = [spec for spec in metadata.outputs if spec not in (boxes, scores, classes)]
    counts = [spec.name for spec in rest if spec.dtype in INTEGERS and spec.shape[1:] in ((), (1,))]
    return Names(boxes.name, scores.name, classes.name, counts[0] if len(counts) == 1 else None)


def _only(metadata: Metadata, among: Sequence[TensorSpec], fits: Callable[[TensorSpec], bool]) -> TensorSpec:
    found = [spec for spec in among if fits(spec)]
    if len(metadata.inputs) != 1 or len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in (*metadata.inputs, *metadata.outputs))
        raise WrongKind(f"{metadata.name}: needs {NEEDS}; it has: {has}")
    return found[0]
