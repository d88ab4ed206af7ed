"""conch call generate --count 64 --seed 7 --out grid.png"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from clients.client import Client
from clients.commands.endpoint import Endpoint
from clients.commands.exit_codes import BadCommand
from clients.errors import WrongKind
from clients.pictures import check_picture_path, grid, picture_tensor, write_picture
from clients.progress import progress
from clients.signature import Metadata, TensorSpec
from clients.terminal import print_json


@dataclass(frozen=True, kw_only=True)
class Generate(Endpoint):
    """Draw pictures from a generator and tile them into one."""

    out: Path
    """Where to write the tiled picture; the ending names the format."""

    count: int = 64
    """How many pictures."""

    seed: int = 0
    """Of the latent vectors: the same seed gives the same pictures."""

    model: str = "gan"
    """A model on the server with one row of normally distributed numbers in and one picture out."""

    def run(self, client: Client, console: Console) -> None:
        if self.count < 1:
            raise BadCommand(f"--count {self.count}: at least 1 picture is needed")
        if self.seed < 0:
            raise BadCommand(f"--seed {self.seed}: it must be 0 or more")
        check_picture_path(self.out)
        metadata = client.metadata(self.model)
        latent, given = _latent(metadata), picture_tensor(self.model, metadata.outputs, "output")
        draw = np.random.default_rng(self.seed)
        vectors = draw.standard_normal((self.count, latent.shape[1]), dtype=np.float32)
        batches = np.split(vectors, range(step := metadata.max_batch_size or 1, self.count, step))
        pictures = []
        with progress() as bar:
            drawing = bar.add_task("drawing", total=self.count)
            for batch in batches:
                pictures.append(client.infer(self.model, {latent.name: batch}, [given.name])[given.name])
                bar.advance(drawing, len(batch))
        write_picture(self.out, grid(np.concatenate(pictures)))
        if self.json:
            print_json({"kept_in": str(self.out), "count": self.count})
            return
        console.print(f"wrote {self.count} pictures to {self.out}", markup=False, highlight=False, soft_wrap=True)


def _latent(metadata: Metadata) -> TensorSpec:
    found = [spec for spec in metadata.inputs if spec.dtype == "FP32" and len(spec.shape) == 2 and spec.shape[1] > 0]
    if len(found) != 1 or len(metadata.inputs) != 1:
        has = ", ".join(f"{spec.name} {spec}" for spec in metadata.inputs)
        raise WrongKind(f"{metadata.name}: needs one input FP32 [batch, size] and no other, it has: {has}")
    return found[0]
