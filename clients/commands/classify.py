"""conch call classify digit.png --model cnn"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.client import Client
from clients.commands.endpoint import Tabular
from clients.commands.picture_input import picture_input
from clients.errors import WrongKind
from clients.signature import Metadata
from clients.terminal import print_json


@dataclass(frozen=True, kw_only=True)
class Classify(Tabular):
    """Say what a picture shows: the likeliest labels with their probabilities."""

    picture: Annotated[Path, tyro.conf.Positional]
    """Any picture that Pillow can read; it is brought to size, colours and range as the model says."""

    model: str = "cnn"
    """A model on the server with one picture in and one row of probabilities out."""

    top: int = 3
    """How many labels to show."""

    invert: bool = False
    """Swap dark and light first: for dark strokes on paper, where the model learnt light ones on black."""

    def run(self, client: Client, console: Console) -> None:
        inputs = picture_input(client, self.model, self.picture, self.invert)
        answers = client.classify(self.model, inputs, _scores(client.metadata(self.model)), self.top)[0]
        if self.json:
            print_json([asdict(answer) for answer in answers])
            return
        table = Table("label", "probability")
        for answer in answers:
            table.add_row(Text(answer.label or f"class {answer.index}"), f"{answer.value:.4f}")
        console.print(table)


def _scores(metadata: Metadata) -> str:
    found = [spec.name for spec in metadata.outputs if spec.dtype.startswith("FP") and len(spec.shape) == 2]
    if len(found) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in metadata.outputs)
        raise WrongKind(f"{metadata.name}: needs one output FP32 [batch, classes], it has: {has}")
    return found[0]
