"""A conditional GAN: a generator that is told what to draw, "a seven", and draws it another way for each latent.

    conch train conditional_gan

Mirza and Osindero, Conditional generative adversarial nets, 2014. The generator gets the label as numbers beside the
latent; the discriminator asks whether an image is a real one of that label by a product with the label's own vector
(Miyato and Koyama, cGANs with projection discriminator, 2018). A network that tells digits apart (conch train cnn,
before this) judges what comes of it.
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
ASKED = 50
"""Samples of each label that are judged."""
LABEL_NUMBERS = 16
LATENT_SEED, CALIBRATION_SEED = 20_141_106, 20_180_215


class Generator(nn.Module):
    """Latents [batch, latent] and labels [batch] to images [batch, channels, height, width] in -1..1."""

    def __init__(self, latent: int, height: int, width: int, channels: int, maps: int, labels: int) -> None:
        super().__init__()
        self.label = nn.Embedding(labels, LABEL_NUMBERS)
        self.layers = generator_body(latent + LABEL_NUMBERS, height, width, channels, maps)
        self.layers.apply(initialise)

    def forward(self, latent: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, latent] and int64 [batch] to float32 [batch, channels, height, width]."""
        return self.layers(torch.cat([latent, self.label(label)], 1))


class Discriminator(nn.Module):
    """Scores [batch] of images [batch, channels, height, width] in -1..1 as images of their labels [batch]."""

    def __init__(self, height: int, width: int, channels: int, maps: int, labels: int) -> None:
        super().__init__()
        body, features = discriminator_body(height, width, channels, maps)
        self.layers = nn.Sequential(*body)
        self.real = spectral_norm(nn.Linear(features, 1))
        self.label = spectral_norm(nn.Embedding(labels, features))

    def forward(self, images: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] and int64 [batch] to float32 [batch]."""
        found = self.layers(images)
        return self.real(found).squeeze(1) + (found * self.label(label)).sum(1)


class ConditionalEndpoint(nn.Module):
    """A label and a latent in, uint8 pixels out."""

    def __init__(self, generator: nn.Module, labels: int) -> None:
        super().__init__()
        self.generator, self.labels = generator, labels

    def forward(self, label: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """int64 [batch, 1] and float32 [batch, latent], standard normal, to uint8 [batch, height, width, channels]."""
        # ONNX's Gather takes negative indices from the end, where PyTorch refuses them: make both refuse.
        known = label.where(label >= 0, self.labels).squeeze(1)
        return to_pixels(self.generator(latent, known))


class ConditionalTrainee(AdversarialTrainee):
    """The game on images with their labels; the generator is asked for those of the real ones."""

    def __init__(self, recipe: ConditionalGAN, data: Images) -> None:
        labels = len(data.labels)
        generator = Generator(recipe.latent, *data.shape, recipe.maps, labels)
        super().__init__(generator, Discriminator(*data.shape, recipe.maps, labels), recipe.learning_rate)
        self.latent = recipe.latent

    def training_step(self, batch: Any, _: int) -> None:
        """One step of each player on uint8 images [batch, height, width, channels] and int64 labels [batch]."""
        images, labels = batch
        real = to_signed(images)
        fake = self.generator(torch.randn(len(real), self.latent, device=self.device), labels)
        self.play(real, fake, lambda shown: self.discriminator(shown, labels))


def asked(labels: int, each: int, latent: int, seed: int = LATENT_SEED) -> dict[str, NDArray[Any]]:
    """Every label `each` times in turn with latents of their own, the same for the same numbers."""
    label = np.tile(np.arange(labels), each)[:, np.newaxis]
    drawn = np.random.default_rng(seed).standard_normal((len(label), latent), np.float32)
    return {"label": label, "latent": drawn}


def deviation(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Root mean squared distance of a pixel from its mean over the images [n, height, width, channels] of its label."""
    squares = [np.square(one - one.mean(0)) for one in (images[labels == label] / 255 for label in np.unique(labels))]
    return float(np.sqrt(np.concatenate(squares).mean()))


@dataclass(frozen=True)
class ConditionalGAN(JudgedRecipe):
    """Images of the label that is asked for."""

    epochs: int = 60
    """Passes over the training split."""
    learning_rate: float = 5e-4
    """Of both players, for the first half."""
    latent: int = 16
    """Size of the latent."""
    maps: int = 24
    """Feature maps of the widest layer that is not doubled."""

    serves: ClassVar[tuple[str, ...]] = ("label, latent -> image",)
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mnist": {"epochs": 14, "batch_size": 64}}
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"as asked": 95.0, "variety": 0.6}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"as asked": AllowedLoss(0.5)}

    def trainee(self, data: Images) -> ConditionalTrainee:
        """Both players with their losses and optimizers."""
        return ConditionalTrainee(self, data)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels] with int64 labels [batch]."""
        return batches(data.train, data.train_labels, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: ConditionalTrainee, data: Images) -> list[Served]:
        """One endpoint: a label and a latent to an image."""
        labels = len(data.labels)
        each = -(-EXAMPLES // labels)
        return [
            Served(
                name=self.name(),
                module=ConditionalEndpoint(trained.averaged.module, labels).eval(),
                inputs=(
                    Tensor("label", "int64", ("batch", 1), high=labels - 1),
                    Tensor("latent", "float32", ("batch", self.latent), low=-3, high=3),
                ),
                outputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                examples=asked(labels, each, self.latent),
                calibration=asked(labels, each, self.latent, CALIBRATION_SEED),
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """What the judge sees in 50 samples of each label, and how much they differ, as a share of what real ones do.

        A generator that draws one good seven again and again is asked in vain for another.
        """
        inputs = asked(len(data.labels), ASKED, self.latent)
        images, labels = predict(inputs)["image"], inputs["label"][:, 0]
        probabilities = self.judged(images)
        ours, real = deviation(images, labels), deviation(data.held_out, data.held_out_labels)
        return [
            Metric("as asked", float((probabilities.argmax(1) == labels).mean() * 100), "%"),
            Metric("variety", ours / real),
            Metric("mean top probability", float(probabilities.max(1).mean())),
        ]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """A column for each label, six samples of it below each other."""
        grid(predict(asked(len(data.labels), 6, self.latent))["image"], columns=len(data.labels)).save(path)
