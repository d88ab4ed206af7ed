"""A deep convolutional inverse graphics network: from a picture to the few numbers it was drawn by, and back.

    conch train dcign
    conch train dcign --epochs 40

Kulkarni, Whitney, Kohli and Tenenbaum, Deep convolutional inverse graphics network, 2015. It is told no position and no
size. It learns from sets of pictures in which one thing changes, and one number of the code alone may change with it:
the others are the same for the whole set. So each number comes to stand for one thing, and a picture can be drawn again
farther to the left, or larger, by changing one number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_rows
from training.data.batches import batches
from training.data.sprites import FACTORS, SIDE, Sprites, sprites
from training.image_code import image_decoder, image_encoder
from training.loop.trainee import Trainee, one_cycle
from training.recipe import Metric, Predict, Recipe, Served, Tensor

EXAMPLES = 64
CODE = len(FACTORS)
SAME = 0.3
"""Weight of what a number that should stay the same differs by within a set."""
NOISE = 0.05
"""Of the code while it learns, so that numbers near each other come to mean nearly the same."""


class InverseGraphics(nn.Module):
    """An encoder to the code, and a decoder from it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            image_encoder(SIDE, SIDE, 1, width), nn.ReLU(), nn.Linear(width, CODE), nn.BatchNorm1d(CODE, affine=False)
        )
        self.decoder = nn.Sequential(
            nn.Linear(CODE, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), image_decoder(SIDE, SIDE, 1, width)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 1, SIDE, SIDE] in 0..1 to codes [batch, CODE], each number of mean 0 and deviation 1."""
        return self.encoder(images)


class RedrawingEndpoint(nn.Module):
    """uint8 pixels and a change of their code in, the code and the pixels drawn from it with the change out."""

    def __init__(self, network: InverseGraphics) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, SIDE, SIDE, 1] and float32 [batch, CODE] to float32 [batch, CODE] and pixels."""
        code = self.network.encoder(image.permute(0, 3, 1, 2).float() / 255)
        grey = self.network.decoder(code + change).sigmoid()
        return code, (grey * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class InverseGraphicsTrainee(Trainee):
    """Cross-entropy of what comes back from a code of which one number is each picture's own."""

    def __init__(self, network: InverseGraphics, learning_rate: float) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 [sets, a set, SIDE, SIDE, 1], in which the factor int64 [sets] is what varies."""
        pictures, varied = batch
        images = pictures.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        code = self.network(images).unflatten(0, pictures.shape[:2])
        mean = code.mean(1, keepdim=True)
        own = functional.one_hot(varied, CODE).unsqueeze(1).bool()
        clamped = torch.where(own, code, mean)
        logits = self.network.decoder((clamped + NOISE * torch.randn_like(clamped)).flatten(0, 1))
        error = functional.binary_cross_entropy_with_logits(logits, images)
        apart = (code - mean).masked_fill(own, 0).square().mean()
        self.log_mean({"train loss": error, "differences within a set": apart})
        return error + SAME * apart

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.learning_rate))


@dataclass(frozen=True)
class InverseGraphicsRecipe(Recipe):
    """Pictures to the numbers they were drawn by, and drawn again."""

    data: str = "sprites"
    """sprites: by a seeded generator."""
    epochs: int = 20
    """Passes over the training sets."""
    batch_size: int = 8
    """Sets of 16 sprites of one optimizer step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    width: int = 128
    """Units of the layers beside the code."""

    serves: ClassVar[tuple[str, ...]] = ("image, change -> code, redrawn",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"sprites": {"graphics": 0.9}}

    def dataset(self) -> Sprites:
        """The sprites."""
        if self.data != "sprites":
            raise ConchError(f"--data {self.data}: no such pictures; known are: sprites")
        return sprites()

    def trainee(self, data: Sprites) -> InverseGraphicsTrainee:
        """The network with its loss and optimizer."""
        return InverseGraphicsTrainee(InverseGraphics(self.width), self.learning_rate)

    def loaders(self, data: Sprites) -> tuple[DataLoader[Any], None]:
        """uint8 sprites [sets, a set, SIDE, SIDE, 1] and what varies in each set, int64 [sets]."""
        return batches(data.train, data.varied, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: InverseGraphicsTrainee, data: Sprites) -> list[Served]:
        """One endpoint: a picture and a change to its code and the picture drawn again."""
        changes = np.random.default_rng(0).uniform(-0.5, 0.5, (EXAMPLES, CODE)).astype(np.float32)
        return [
            Served(
                name=self.name(),
                module=RedrawingEndpoint(trained.network).eval(),
                inputs=(
                    Tensor("image", "uint8", ("batch", SIDE, SIDE, 1)),
                    Tensor("change", "float32", ("batch", CODE), low=-1, high=1),
                ),
                outputs=(
                    Tensor("code", "float32", ("batch", CODE)),
                    Tensor("redrawn", "uint8", ("batch", SIDE, SIDE, 1)),
                ),
                examples={"image": data.held_out[:EXAMPLES], "change": changes},
            )
        ]

    def score(self, predict: Predict, data: Sprites) -> list[Metric]:
        """How surely each number goes with its own place or size and with nothing else; and what comes back.

        Rank correlations between numbers and factors of held-out sprites: the first metric is the least of a number
        with its own factor, the second the largest with another. Shapes have no order and are left out.
        """
        still = np.zeros((len(data.held_out), CODE), np.float32)
        found = predict({"image": data.held_out, "change": still})
        ordered = CODE - 1
        ranks = abs(spearmanr(found["code"][:, :ordered], data.held_out_factors[:, :ordered]).statistic)
        between = ranks[:ordered, ordered:]
        error = np.square((found["redrawn"].astype(np.float64) - data.held_out) / 255).mean()
        return [
            Metric("graphics", between.diagonal().min()),
            Metric("confusion", (between - np.diag(between.diagonal())).max(), higher_is_better=False),
            Metric("squared error", error, higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Sprites, path: Path) -> None:
        """A held-out sprite drawn again with each number of its code changed, from less to more."""
        steps = np.linspace(-1.5, 1.5, 9, dtype=np.float32)
        picture = data.held_out[:1].repeat(len(steps), 0)
        code = predict({"image": picture[:1], "change": np.zeros((1, CODE), np.float32)})["code"]
        rows = {"held out": picture[:1]}
        for number, factor in enumerate(FACTORS):
            change = np.zeros((len(steps), CODE), np.float32)
            change[:, number] = steps - code[0, number]
            rows[factor] = predict({"image": picture, "change": change})["redrawn"]
        draw_rows(rows, path)
