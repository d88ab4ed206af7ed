"""A Hopfield network: a memory that is asked with a part of what it holds, or with a spoilt one, and gives the whole.

    conch train hopfield
    conch train hopfield --noise 0.3

Hopfield, Neural networks and physical systems with emergent collective computational abilities, 1982. Hebb's rule
stores patterns that have nothing in common; digits have, and are stored by the rule that takes out what they share
(Personnaz, Guyon and Dreyfus, Information storage and retrieval in spin-glass-like neural networks, 1985). Weights are
whole numbers: sums of them are exact, so that every machine falls into the same memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_rows
from training.data.batches import batches
from training.data.images import Images
from training.image_recipe import ImageRecipe
from training.loop.trainee import GradientFree
from training.recipe import Metric, Predict, Served, Tensor

EXAMPLES = 64
COPIES = 30
"""Spoilt images of each pattern that the score asks with."""
NOISE_SEED = 19_820_401
LARGEST_WEIGHT = 2**12
"""So that a sum of up to 4,096 of them is a whole number that float32 holds."""


class Recall(nn.Module):
    """uint8 pixels in; after so many turns of all units at once the memory they fall into, and its energy."""

    def __init__(self, weights: nn.Parameter, turns: int) -> None:
        super().__init__()
        self.weights = weights
        self.turns = turns

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels], above 127 is on, to the same of 0 and 255 and float32 [batch, 1]."""
        units = torch.where(image.flatten(1) > 127, 1.0, -1.0)
        for _ in range(self.turns):
            sums = units @ self.weights
            units = torch.where(sums == 0, units, sums.sign())
        energy = -((units @ self.weights) * units).sum(1, keepdim=True) / (2 * LARGEST_WEIGHT)
        return ((units + 1) * 127.5).to(torch.uint8).view_as(image), energy


class HopfieldTrainee(GradientFree):
    """Stores all patterns of an epoch at its end."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(pixels, pixels), requires_grad=False)
        self.seen: list[torch.Tensor] = []

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Take uint8 patterns [batch, height, width, channels]."""
        units = torch.where(batch[0].flatten(1) > 127, 1.0, -1.0).double()
        self.seen.append(units)
        return {"units on": (units > 0).float().mean()}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Weights that leave every pattern as it is and take out all else: the projection on what they span."""
        patterns = torch.cat(self.seen)
        self.seen = []
        projection = torch.linalg.pinv(patterns) @ patterns
        projection.fill_diagonal_(0)
        self.weights.copy_((projection * (LARGEST_WEIGHT / projection.abs().max())).round())
        return {"patterns": torch.tensor(float(len(patterns)))}


@dataclass(frozen=True)
class Hopfield(ImageRecipe):
    """An associative memory of ten digits."""

    epochs: int = field(default=1, init=False)
    learning_rate: float = field(default=1.0, init=False)
    batch_size: int = field(default=64, init=False)
    noise: float = 0.25
    """Share of the pixels that the score turns over."""
    turns: int = 12
    """How often all units look at all others."""

    learns_by: ClassVar[str] = "the projection rule"
    serves: ClassVar[tuple[str, ...]] = ("image -> recalled, energy",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"recalled": 97.0}}

    def __post_init__(self) -> None:
        """Refuse noise that leaves nothing to recall."""
        super().__post_init__()
        if self.noise >= 0.5:
            raise ConchError(f"--noise {self.noise}: it must be below 0.5, where nothing of a pattern is left")

    def patterns(self, data: Images) -> NDArray[np.uint8]:
        """Of each class the training image nearest to the mean of the class: [classes, height, width, channels].

        Raises:
            ConchError: the images have more pixels than whole numbers in float32 allow.
        """
        if data.train[0].size > 4096:
            raise ConchError(f"--data {data.name}: {data.train[0].size} pixels; the network takes 4,096 at most")
        found = []
        for label in range(len(data.labels)):
            images = data.train[data.train_labels == label]
            mean = images.mean(0)
            found.append(images[np.square(images - mean).sum((1, 2, 3)).argmin()])
        return np.where(np.stack(found) > 127, 255, 0).astype(np.uint8)

    def spoilt(self, data: Images) -> NDArray[np.uint8]:
        """`COPIES` of each pattern in turns, other pixels turned over: [copies * classes, height, width, channels]."""
        patterns = self.patterns(data)
        many = np.tile(patterns, (COPIES, 1, 1, 1))
        turned = np.random.default_rng(NOISE_SEED).random(many.shape) < self.noise
        return np.where(turned, 255 - many, many)

    def trainee(self, data: Images) -> HopfieldTrainee:
        """An empty memory."""
        return HopfieldTrainee(data.train[0].size)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """The patterns uint8 [patterns, height, width, channels]."""
        return batches(self.patterns(data), size=self.batch_size), None

    def served(self, trained: HopfieldTrainee, data: Images) -> list[Served]:
        """One endpoint: a spoilt image to the memory."""
        return [
            Served(
                name=self.name(),
                module=Recall(trained.weights, self.turns).eval(),
                inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                outputs=(
                    Tensor("recalled", "uint8", ("batch", *data.shape)),
                    Tensor("energy", "float32", ("batch", 1)),
                ),
                examples={"image": self.spoilt(data)[:EXAMPLES]},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Share of the spoilt images that become their pattern to the last pixel."""
        found = predict({"image": self.spoilt(data)})
        right = (found["recalled"] == np.tile(self.patterns(data), (COPIES, 1, 1, 1))).all((1, 2, 3))
        return [Metric("recalled", right.mean() * 100, "%")]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """What is asked with, and what is recalled: of spoilt patterns, and of their upper halves, where some fail."""
        spoilt, half = self.spoilt(data)[: len(data.labels)], self.patterns(data)
        half[:, half.shape[1] // 2 :] = 0
        recalled, of_half = (predict({"image": images})["recalled"] for images in (spoilt, half))
        draw_rows({"spoilt": spoilt, "recalled": recalled, "half": half, "of half": of_half}, path)
