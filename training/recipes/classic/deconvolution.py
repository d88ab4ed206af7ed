"""A deconvolutional network: a convolutional one turned round, which draws what it is told.

    conch train deconvolution
    conch train deconvolution --epochs 40

Zeiler, Krishnan, Taylor and Fergus, Deconvolutional networks, 2010; told what to draw as in Dosovitskiy, Springenberg
and Brox, Learning to generate chairs with convolutional neural networks, 2015. From a shape, a place and a size it
draws the sprite, at places and sizes between those it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_rows
from training.data.batches import batches
from training.data.sprites import FARTHEST, LARGEST, NEAREST, SHAPES, SIDE, SMALLEST, Sprites, drawn, sprites
from training.image_code import image_decoder
from training.loop.trainee import Trainee, one_cycle
from training.recipe import Metric, Predict, Recipe, Served, Tensor

EXAMPLES = 64


class Painter(nn.Module):
    """What is to be drawn to logits of its pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(len(SHAPES) + 3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            image_decoder(SIDE, SIDE, 1, width),
        )  # fmt: skip

    def forward(self, shape: torch.Tensor, place: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """int64 [batch], float32 [batch, 2] and [batch, 1] in pixels to float32 [batch, 1, SIDE, SIDE]."""
        which = functional.one_hot(shape, len(SHAPES)).float()
        where = (2 * place - NEAREST - FARTHEST) / (FARTHEST - NEAREST)
        large = (2 * size - SMALLEST - LARGEST) / (LARGEST - SMALLEST)
        return self.layers(torch.cat([which, where, large], 1))


class PainterEndpoint(nn.Module):
    """A shape, a place and a size in, uint8 pixels out."""

    def __init__(self, painter: Painter) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, shape: torch.Tensor, place: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """int64 [batch, 1], float32 [batch, 2] and [batch, 1] to uint8 [batch, SIDE, SIDE, 1]."""
        grey = self.painter(shape[:, 0].clamp(0, len(SHAPES) - 1), place, size).sigmoid()
        return (grey * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class PainterTrainee(Trainee):
    """Cross-entropy of grey, a pixel at a time."""

    def __init__(self, painter: Painter, learning_rate: float) -> None:
        super().__init__()
        self.painter = painter
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 sprites [batch, SIDE, SIDE, 1] and factors float32 [batch, 4]."""
        images, factors = batch
        logits = self.painter(factors[:, 3].long(), factors[:, :2], factors[:, 2:3])
        loss = functional.binary_cross_entropy_with_logits(logits, images.permute(0, 3, 1, 2).float() / 255)
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.learning_rate))


def asked(factors: NDArray[np.float32]) -> dict[str, np.ndarray]:
    """The inputs that have sprites of factors [n, 4] drawn."""
    shape, place, size = factors[:, 3:].astype(np.int64), factors[:, :2], factors[:, 2:3]
    return {"shape": shape, "place": np.ascontiguousarray(place), "size": np.ascontiguousarray(size)}


@dataclass(frozen=True)
class Deconvolution(Recipe):
    """Draws a sprite of a shape, a place and a size."""

    data: str = "sprites"
    """sprites: by a seeded generator."""
    epochs: int = 15
    """Passes over the training sprites."""
    batch_size: int = 64
    """Sprites of one optimizer step."""
    learning_rate: float = 4e-3
    """Peak of the one-cycle schedule."""
    width: int = 128
    """Units of the layers before the deconvolutions."""

    serves: ClassVar[tuple[str, ...]] = ("shape, place, size -> image",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"sprites": {"overlap": 0.93}}

    def dataset(self) -> Sprites:
        """The sprites."""
        if self.data != "sprites":
            raise ConchError(f"--data {self.data}: no such pictures; known are: sprites")
        return sprites()

    def trainee(self, data: Sprites) -> PainterTrainee:
        """The network with its loss and optimizer."""
        return PainterTrainee(Painter(self.width), self.learning_rate)

    def loaders(self, data: Sprites) -> tuple[DataLoader[Any], None]:
        """uint8 sprites [batch, SIDE, SIDE, 1] with factors float32 [batch, 4]."""
        images, factors = (array.reshape(-1, *array.shape[2:]) for array in (data.train, data.train_factors))
        return batches(images, factors, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: PainterTrainee, data: Sprites) -> list[Served]:
        """One endpoint: what is to be drawn to the picture."""
        return [
            Served(
                name=self.name(),
                module=PainterEndpoint(trained.painter).eval(),
                inputs=(
                    Tensor("shape", "int64", ("batch", 1), high=len(SHAPES) - 1),
                    Tensor("place", "float32", ("batch", 2), low=NEAREST, high=FARTHEST),
                    Tensor("size", "float32", ("batch", 1), low=SMALLEST, high=LARGEST),
                ),
                outputs=(Tensor("image", "uint8", ("batch", SIDE, SIDE, 1)),),
                examples=asked(data.held_out_factors[:EXAMPLES]),
            )
        ]

    def score(self, predict: Predict, data: Sprites) -> list[Metric]:
        """Intersection over union of what is white in the drawn and the true held-out sprites; the error of grey."""
        image = predict(asked(data.held_out_factors))["image"]
        drawn_white, white = image > 127, data.held_out > 127
        overlap = (drawn_white & white).sum((1, 2, 3)) / (drawn_white | white).sum((1, 2, 3))
        error = np.square((image.astype(np.float64) - data.held_out) / 255).mean()
        return [Metric("overlap", overlap.mean()), Metric("squared error", error, higher_is_better=False)]

    def samples(self, predict: Predict, data: Sprites, path: Path) -> None:
        """Each shape on its way from the left to the right, growing; and as it should be."""
        way = np.linspace(0, 1, 10, dtype=np.float32)
        rows: dict[str, NDArray[np.uint8]] = {}
        for number, name in enumerate(SHAPES):
            place = NEAREST + way * (FARTHEST - NEAREST)
            size = SMALLEST + way * (LARGEST - SMALLEST)
            factors = np.stack([place, place, size, np.full_like(way, number)], 1)
            rows |= {name: predict(asked(factors))["image"], f"true {name}": drawn(factors)}
        draw_rows(rows, path)
