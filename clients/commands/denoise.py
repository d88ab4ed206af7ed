"""conch call denoise noisy.png --out clean.png"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.picture_input import picture_input
from clients.pictures import check_picture_path, picture_tensor, write_picture


@dataclass(frozen=True, kw_only=True)
class Denoise(Endpoint):
    """Clean a picture, and say how far it was from what the model knows (its error score)."""

    picture: Annotated[Path, tyro.conf.Positional]
    """Any picture that Pillow can read; it is brought to size, colours and range as the model says."""

    out: Path
    """Where to write the cleaned picture; the ending names the format."""

    model: str = "autoencoder"
    """A model on the server with one picture in and one out."""

    invert: bool = False
    """Swap dark and light first: for dark strokes on paper, where the model learnt light ones on black."""

    def run(self, client: Client, console: Console) -> None:
        check_picture_path(self.out)
        inputs = picture_input(client, self.model, self.picture, self.invert)
        given = picture_tensor(self.model, client.metadata(self.model).outputs, "output")
        answers = client.infer(self.model, inputs)
        write_picture(self.out, answers[given.name][0])
        for name, values in answers.items():
            if values.size == 1 and np.issubdtype(values.dtype, np.number):
                console.print(f"{name} {values.item():.6g}", markup=False, highlight=False)
        console.print(f"wrote {self.out}", markup=False, highlight=False, soft_wrap=True)
