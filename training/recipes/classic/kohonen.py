"""A Kohonen network: a map of images that orders itself, on which what is alike lies side by side.

    conch train kohonen
    conch train kohonen --side 16
    conch train kohonen --data fashion-mnist

Kohonen, Self-organized formation of topologically correct feature maps, 1982, by his batch rule: each unit becomes the
mean of the images that fall to it and to its neighbours, while the neighbourhood shrinks. Nobody tells it the classes.
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

from training.checkpoints.drawing import grid
from training.data.batches import batches
from training.data.images import Images
from training.image_recipe import ImageRecipe
from training.loop.trainee import GradientFree
from training.recipe import Metric, Predict, Served, Tensor

EXAMPLES = 64
NARROWEST = 0.5
"""Of the neighbourhood at the end, in units."""


def distances(images: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Float32 [batch, units] between images in 0..1 [batch, pixels] and units [units, pixels]."""
    squares = images.square().sum(1, keepdim=True) - 2 * images @ units.T + units.square().sum(1)
    return squares.clamp(min=0).sqrt()


class MapEndpoint(nn.Module):
    """uint8 pixels in, their distances to all units of the map, the nearest one's place and what it holds out."""

    def __init__(self, units: nn.Parameter, side: int) -> None:
        super().__init__()
        self.units = units
        self.side = side

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels] to int64 [batch, 2], float32 [batch, side, side] and pixels."""
        found = distances(image.flatten(1).float() / 255, self.units)
        nearest = found.argmin(1)
        place = torch.stack([nearest // self.side, nearest % self.side], 1)
        held = (self.units[nearest] * 255).round().to(torch.uint8)
        return place, found.unflatten(1, (self.side, self.side)), held.view_as(image)


class MapTrainee(GradientFree):
    """The batch rule, an epoch an iteration."""

    between: torch.Tensor

    def __init__(self, units: NDArray[np.float32], recipe: Kohonen) -> None:
        super().__init__()
        self.recipe = recipe
        self.units = nn.Parameter(torch.from_numpy(units), requires_grad=False)
        places = torch.stack(torch.meshgrid(*[torch.arange(recipe.side).float()] * 2, indexing="ij"), 2).flatten(0, 1)
        self.register_buffer("between", torch.cdist(places, places).square())
        self.weighted, self.weights = torch.zeros(()), torch.zeros(())

    def width(self) -> float:
        """Of the neighbourhood in this epoch, in units: from half the map's side to `NARROWEST`."""
        done = self.current_epoch / max(1, self.recipe.epochs - 1)
        return (self.recipe.side / 2) ** (1 - done) * NARROWEST**done

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Add uint8 images [batch, height, width, channels] to the units near where they fall."""
        images = batch[0].flatten(1).float() / 255
        found, nearest = distances(images, self.units).min(1)
        pull = (-self.between[nearest] / (2 * self.width() ** 2)).exp()
        self.weighted = self.weighted + pull.T @ images
        self.weights = self.weights + pull.sum(0).unsqueeze(1)
        return {"quantisation error": found.mean()}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Each unit becomes the weighted mean; one that nothing falls near stays."""
        near = self.weights > 1e-6
        self.units.copy_(torch.where(near, self.weighted / self.weights.clamp(min=1e-6), self.units))
        self.weighted, self.weights = torch.zeros(()), torch.zeros(())
        return {"neighbourhood": torch.tensor(self.width())}


@dataclass(frozen=True)
class Kohonen(ImageRecipe):
    """A self-organizing map of images."""

    epochs: int = 25
    """Iterations, each over all training images."""
    batch_size: int = 256
    """Images that are added to the sums at once."""
    learning_rate: float = field(default=1.0, init=False)
    side: int = 12
    """Units along each side of the map."""

    learns_by: ClassVar[str] = "Kohonen's batch rule"
    serves: ClassVar[tuple[str, ...]] = ("image -> place, distances, held",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "digits": {"error of a random map's": 0.9, "neighbours torn apart": 15.0}
    }

    def trainee(self, data: Images) -> MapTrainee:
        """The map, its units at the mean image and a little beside it."""
        pixels = data.train.reshape(len(data.train), -1).astype(np.float32) / 255
        noise = np.random.default_rng(self.seed).normal(size=(self.side**2, pixels.shape[1]))
        return MapTrainee((pixels.mean(0) + 0.1 * pixels.std(0) * noise).astype(np.float32), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """All uint8 images [batch, height, width, channels], in order."""
        return batches(data.train, size=self.batch_size), None

    def served(self, trained: MapTrainee, data: Images) -> list[Served]:
        """One endpoint: an image to its place on the map."""
        return [
            Served(
                name=self.name(),
                module=MapEndpoint(trained.units, self.side).eval(),
                inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                outputs=(
                    Tensor("place", "int64", ("batch", 2)),
                    Tensor("distances", "float32", ("batch", self.side, self.side)),
                    Tensor("held", "uint8", ("batch", *data.shape)),
                ),
                examples={"image": data.held_out[:EXAMPLES]},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """How well the map stands for held-out images, and how well it keeps neighbours together.

        The first is the mean distance to the nearest unit, as a share of that to the nearest of as many random training
        images. The second is the share of images whose two nearest units are no neighbours on the map.
        """
        found = predict({"image": data.held_out})["distances"].reshape(len(data.held_out), -1)
        chosen = np.random.default_rng(0).permutation(len(data.train))[: self.side**2]
        flat = [torch.from_numpy(images.reshape(len(images), -1) / np.float32(255)) for images in
                (data.held_out, data.train[chosen])]  # fmt: skip
        random = float(distances(*flat).amin(1).mean())
        first, second = np.argsort(found, axis=1)[:, :2].T
        apart = np.maximum(abs(first // self.side - second // self.side), abs(first % self.side - second % self.side))
        return [
            Metric("error of a random map's", found.min(1).mean() / random, higher_is_better=False),
            Metric("neighbours torn apart", np.mean(apart > 1) * 100, "%", higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """The map: what each unit holds, where one of the training images falls on it."""
        found = predict({"image": data.train})
        held = np.zeros((self.side, self.side, *data.shape), np.uint8)
        held[tuple(found["place"].T)] = found["held"]
        grid(held.reshape(-1, *data.shape), columns=self.side).save(path)
