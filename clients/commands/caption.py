"""conch call caption picture.png"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import FAILED
from clients.commands.finding import find_model
from clients.commands.picture_input import PictureInput
from clients.commands.sources import expanded
from clients.pictures import picture_tensor
from clients.signature import Metadata
from clients.terminal import print_json
from clients.written import WRITES, Writer, outputs_that_write


@dataclass(frozen=True, kw_only=True)
class Caption(Endpoint):
    """Say in a sentence what pictures show.

    conch call caption *.png --json
    """

    pictures: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PICTURE [PICTURE ...]", help_behavior_hint="(required)"),
    ]
    """Any that Pillow can read, patterns as '*.png', or - for the standard input; they are brought to size, colours and
    range as the model says."""

    model: str | None = None
    """A model on the server that writes words of a picture; default: the only one."""

    invert: bool = False
    """Swap dark and light first: for dark strokes on paper, where the model learnt light ones on black."""

    def run(self, client: Client, console: Console) -> int:
        paths = expanded(self.pictures)
        model = find_model(client, self.model, f"one picture in and {WRITES}", writes_of_pictures)
        writer, given = Writer(client, model), PictureInput(client, model, self.invert)
        for request in given.requests(paths):
            for path, written in zip(request.paths, writer.write(request.inputs), strict=True):
                sentence = " ".join(written.labels)
                if self.json:
                    document = {"picture": str(path), "caption": sentence, "probability": written.probability}
                    print_json(document, indent=None)
                else:
                    line = f"{path}: {sentence} ({written.probability:.4f})"
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
        return FAILED if given.skipped else 0


def writes_of_pictures(metadata: Metadata) -> None:
    """Raises WrongKind where a model does not."""
    picture_tensor(metadata.name, metadata.inputs, "input")
    outputs_that_write(metadata)
