"""A restricted Boltzmann machine: features of images without labels, and an energy that is low for what it has learnt.

    conch train rbm
    conch train rbm --hidden 256 --epochs 60

Smolensky, Information processing in dynamical systems, 1986; trained by contrastive divergence (Hinton, Training
products of experts by minimizing contrastive divergence, 2002). The free energy is minus the logarithm of an image's
probability, but for a constant: it tells digits from images that have the same grey at each pixel and know nothing of
each other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader

from training.checkpoints.drawing import draw_rows
from training.contrastive_divergence import Momentum, RestrictedBoltzmann
from training.data.batches import batches
from training.data.images import Images
from training.image_recipe import ImageRecipe
from training.loop.trainee import GradientFree
from training.recipe import Metric, Predict, Served, Tensor

EXAMPLES = 64
TURNS = 40
"""Of filling in what is missing, for the samples."""
NOISE_SEED = 19_860_201


class RestrictedEndpoint(nn.Module):
    """uint8 pixels in, their features, what these say of the pixels, and the free energy out."""

    def __init__(self, machine: RestrictedBoltzmann) -> None:
        super().__init__()
        self.machine = machine

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels] to float32 [batch, hidden], pixels, float32 [batch, 1]."""
        visible = image.flatten(1).float() / 255
        features = self.machine.up(visible)
        again = (self.machine.down(features) * 255).round().to(torch.uint8)
        return features, again.view_as(image), self.machine.free_energy(visible).unsqueeze(1)


class RestrictedTrainee(GradientFree):
    """Contrastive divergence; a pixel's grey is the probability that it is on."""

    def __init__(self, machine: RestrictedBoltzmann, rate: float) -> None:
        super().__init__()
        self.machine = machine
        self.rate = rate
        self.momentum = Momentum()

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Learn from uint8 images [batch, height, width, channels]."""
        visible = batch[0].flatten(1).float() / 255
        return {"squared error": self.momentum.step(self.machine, visible, self.rate)}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Let go of the momentum, which is no part of the state that a killed run goes on from."""
        self.momentum = Momentum()
        return {}


def independent_pixels(images: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """`rows` images each pixel of which is that of an image drawn for it alone."""
    flat = images.reshape(len(images), -1)
    chosen = np.random.default_rng(NOISE_SEED).integers(0, len(flat), (rows, flat.shape[1]))
    return np.take_along_axis(flat, chosen, axis=0).reshape(rows, *images.shape[1:])


@dataclass(frozen=True)
class RestrictedBoltzmannRecipe(ImageRecipe):
    """A restricted Boltzmann machine of images."""

    epochs: int = 40
    """Passes over the training split."""
    learning_rate: float = 0.1
    """Share of a step."""
    hidden: int = 128
    """Features."""

    learns_by: ClassVar[str] = "contrastive divergence"
    serves: ClassVar[tuple[str, ...]] = ("image -> features, reconstruction, free_energy",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"digits told": 99.0}}

    def trainee(self, data: Images) -> RestrictedTrainee:
        """The machine, whose visible units begin with their mean."""
        machine = RestrictedBoltzmann(data.train[0].size, self.hidden)
        mean = torch.from_numpy(data.train.reshape(len(data.train), -1).mean(0) / 255).float().clamp(0.01, 0.99)
        machine.visible.copy_(mean.logit())
        return RestrictedTrainee(machine, self.learning_rate)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels]."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: RestrictedTrainee, data: Images) -> list[Served]:
        """One endpoint: an image to its features, what they say of it, and its free energy."""
        return [
            Served(
                name=self.name(),
                module=RestrictedEndpoint(trained.machine).eval(),
                inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                outputs=(
                    Tensor("features", "float32", ("batch", self.hidden)),
                    Tensor("reconstruction", "uint8", ("batch", *data.shape)),
                    Tensor("free_energy", "float32", ("batch", 1)),
                ),
                examples={"image": data.held_out[:EXAMPLES]},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """How surely a held-out image has less free energy than one of independent pixels; what comes back.

        The first is the area under the curve of true against false alarms: 50 % is chance.
        """
        found = predict({"image": data.held_out})
        others = predict({"image": independent_pixels(data.held_out, len(data.held_out))})
        energies = -np.concatenate([found["free_energy"][:, 0], others["free_energy"][:, 0]])
        told = roc_auc_score(np.repeat((1, 0), len(data.held_out)), energies)
        error = np.square((found["reconstruction"].astype(np.float64) - data.held_out) / 255).mean()
        return [Metric("digits told", told * 100, "%"), Metric("squared error", error, higher_is_better=False)]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """Held-out images, what their features say of them, the same half covered, and what it fills in."""
        images = data.held_out[:: len(data.held_out) // 12][:12]
        half = slice(images.shape[1] // 2, None)
        covered = images.copy()
        covered[:, half] = 0
        filled = covered
        for _ in range(TURNS):
            again = predict({"image": filled})["reconstruction"]
            filled = images.copy()
            filled[:, half] = again[:, half]
        rows = {"held out": images, "again": predict({"image": images})["reconstruction"], "covered": covered}
        draw_rows({**rows, "filled in": filled}, path)
