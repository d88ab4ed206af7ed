"""conch call classify digit.png --model cnn

conch call classify *.png --json

conch call classify bark.wav --model sounds
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import FAILED, BadCommand
from clients.commands.picture_input import PictureInput
from clients.commands.sound_input import SoundInput
from clients.commands.sources import expanded
from clients.errors import WrongKind
from clients.progress import progress
from clients.signature import Classification, Metadata
from clients.terminal import print_json


@dataclass(frozen=True, kw_only=True)
class Classify(Endpoint):
    """Say what pictures show, or what is heard: the likeliest labels with their probabilities.

    Several pictures are sent in batches, sounds one by one, and each is a line of the answer, in their order. One of
    them that cannot be read is told on stderr, and the exit code is then 1.

    conch call classify *.png --json
    """

    pictures: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PICTURE [PICTURE ...]", help_behavior_hint="(required)"),
    ]
    """Any that Pillow can read, patterns as '*.png', or - for the standard input; they are brought to size, colours and
    range as the model says. Or sounds, WAV files of PCM with as many samples a second as the model takes."""

    model: str = "cnn"
    """A model on the server with one picture or sound in and one row of probabilities out."""

    top: int = 3
    """How many labels to show."""

    invert: bool = False
    """Swap dark and light first: for dark strokes on paper, where the model learnt light ones on black."""

    def run(self, client: Client, console: Console) -> int:
        if self.top < 1:
            raise BadCommand(f"--top {self.top}: allowed are 1 and more")
        paths = expanded(self.pictures)
        width = max(len(str(path)) for path in paths)
        heard = all(path.suffix.lower() == ".wav" for path in paths)
        given = SoundInput(client, self.model) if heard else PictureInput(client, self.model, self.invert)
        with progress(console) as bar:
            classifying = bar.add_task("classifying", total=len(paths), visible=len(paths) > 1)
            for request in given.requests(paths):
                output = _scores(client.metadata(self.model))
                answers = client.classify(self.model, request.inputs, output, self.top)
                for path, found in zip(request.paths, answers, strict=True):
                    if self.json:
                        print_json(
                            [{"sound" if heard else "picture": str(path)} | asdict(answer) for answer in found],
                            indent=None,
                        )
                    else:
                        console.print(
                            _table(found) if len(paths) == 1 else _line(path, width, found), soft_wrap=len(paths) > 1
                        )
                bar.advance(classifying, len(request.paths))
        return FAILED if given.skipped else 0


def _table(answers: Sequence[Classification]) -> Table:
    table = Table("label", "probability")
    for answer in answers:
        table.add_row(Text(_label(answer)), f"{answer.value:.4f}")
    return table


def _line(path: Path, width: int, answers: Sequence[Classification]) -> Text:
    """One picture of several: 'a.png  7 0.9987  1 0.0010'."""
    return Text("  ".join([str(path).ljust(width), *(f"{_label(answer)} {answer.value:.4f}" for answer in answers)]))


def _label(answer: Classification) -> str:
    return answer.label or f"class {answer.index}"


def _scores(metadata: Metadata) -> str:
    found = [spec.name for spec in metadata.outputs if spec.dtype.startswith("FP") and len(spec.shape) == 2]
    if len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in metadata.outputs)
        raise WrongKind(f"{metadata.name}: needs one output FP32 [batch, classes], it has: {has}")
    return found[0]
