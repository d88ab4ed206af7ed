"""DCGAN: a generator of images, trained against a discriminator. Only the generator is served.

    conch train cnn          the judge, trained first
    conch train gan

    conch train cnn --data mnist
    conch train gan --data mnist

Goodfellow et al., Generative adversarial nets, 2014; Radford et al., Unsupervised representation learning with deep
convolutional generative adversarial networks, 2015.
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
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader

from training.adversarial import (
    AdversarialTrainee,
    JudgedRecipe,
    discriminator_body,
    generator_body,
    initialise,
    to_pixels,
    to_signed,
)
from training.checkpoints.drawing import grid
from training.data.batches import batches
from training.data.images import Images
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

EXAMPLES = 64
JUDGED_SAMPLES = 1000
LATENT_SEED = 20_141_210
CALIBRATION_SEED = 20_160_107


class Generator(nn.Module):
    """Latents [batch, latent] to images [batch, channels, height, width] in -1..1; sides are multiples of 4."""

    def __init__(self, latent: int, height: int, width: int, channels: int, maps: int) -> None:
        super().__init__()
        self.layers = generator_body(latent, height, width, channels, maps)
        self.apply(initialise)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, latent] to float32 [batch, channels, height, width]."""
        return self.layers(latent)


class Discriminator(nn.Module):
    """Scores [batch] of images [batch, channels, height, width] in -1..1; higher is more like real ones."""

    def __init__(self, height: int, width: int, channels: int, maps: int) -> None:
        super().__init__()
        body, features = discriminator_body(height, width, channels, maps)
        self.layers = nn.Sequential(*body, spectral_norm(nn.Linear(features, 1)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to float32 [batch]."""
        return self.layers(images).squeeze(1)


class GeneratorEndpoint(nn.Module):
    """Latents in, uint8 pixels out."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, latent], standard normal, to uint8 [batch, height, width, channels]."""
        return to_pixels(self.generator(latent))


class GANTrainee(AdversarialTrainee):
    """The game on images."""

    def __init__(self, recipe: GAN, data: Images) -> None:
        generator = Generator(recipe.latent, *data.shape, recipe.maps)
        super().__init__(generator, Discriminator(*data.shape, recipe.maps), recipe.learning_rate)
        self.latent = recipe.latent

    def training_step(self, batch: Any, _: int) -> None:
        """One step of each player on uint8 images [batch, height, width, channels]."""
        real = to_signed(batch[0])
        fake = self.generator(torch.randn(len(real), self.latent, device=self.device))
        self.play(real, fake, self.discriminator)


def latents(count: int, size: int, seed: int = LATENT_SEED) -> NDArray[np.float32]:
    """The same standard normal latents [count, size] for the same count and seed."""
    return np.random.default_rng(seed).standard_normal((count, size), np.float32)


@dataclass(frozen=True)
class GAN(JudgedRecipe):
    """DCGAN generator of images."""

    epochs: int = 32
    """Passes over the training split."""
    learning_rate: float = 5e-4
    """Of both players, for the first half."""
    latent: int = 64
    """Size of the generator's input."""
    maps: int = 32
    """Feature maps of the widest layer that is not doubled."""

    serves: ClassVar[tuple[str, ...]] = ("latent -> image",)
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mnist": {"epochs": 14, "batch_size": 64}}
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "digits": {"mean top probability": 0.85, "rarest class": 3.0},
        "mnist": {"mean top probability": 0.92, "rarest class": 5.0, "commonest class": 17.0},
    }
    # Between two draws of 1,000 latents fp32's own figures move by 0.01 and by 1.5 points.
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {
        "mean top probability": AllowedLoss(0.01),
        "rarest class": AllowedLoss(0.5),
    }

    def trainee(self, data: Images) -> GANTrainee:
        """Both players with their losses and optimizers."""
        return GANTrainee(self, data)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels]; a generator has no loss on held-out ones."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: GANTrainee, data: Images) -> list[Served]:
        """One endpoint: a latent to an image."""
        return [
            Served(
                name=self.name(),
                module=GeneratorEndpoint(trained.averaged.module).eval(),
                inputs=(Tensor("latent", "float32", ("batch", self.latent), low=-3, high=3),),
                outputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                examples={"latent": latents(EXAMPLES, self.latent)},
                calibration={"latent": latents(2 * EXAMPLES, self.latent, CALIBRATION_SEED)},
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """What the judge sees in 1,000 samples: how sure it is, how often the rarest and the commonest class come."""
        images = predict({"latent": latents(JUDGED_SAMPLES, self.latent)})["image"]
        probabilities = self.judged(images)
        counts = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
        return [
            Metric("mean top probability", float(probabilities.max(1).mean())),
            Metric("rarest class", float(counts.min() / len(images) * 100), "%"),
            Metric("commonest class", float(counts.max() / len(images) * 100), "%", higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """A grid of 100 generated images."""
        grid(predict({"latent": latents(100, self.latent)})["image"], columns=20).save(path)
