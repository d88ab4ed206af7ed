"""A support vector machine: classes parted by the widest margin, on which few of the training images decide.

    conch train svm
    conch train svm --kernel linear
    conch train svm --data fashion-mnist

Cortes and Vapnik, Support-vector networks, 1995, each class against all others, by stochastic descent of the hinge loss
(Shalev-Shwartz, Singer and Srebro, Pegasos, 2007). The Gaussian kernel is that of random features (Rahimi and Recht,
Random features for large-scale kernel machines, 2007), so that a trained machine is a product of matrices and keeps no
training image. What it serves are distances to the margins and no probabilities: above 1 is beyond the class's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from training.checkpoints.drawing import draw_rows
from training.classifier import ImageClassifier
from training.data.batches import batches
from training.data.images import Images
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

ON_THE_MARGIN = 0.99
"""Nearer than this to a border counts as inside: descent leaves those on the margin a little beside it."""


class RandomFeatures(nn.Module):
    """cos(w x + b), whose products are on average exp(-|x - y|^2 / 2 width^2)."""

    def __init__(self, pixels: int, features: int, width: float) -> None:
        super().__init__()
        self.sums = nn.Linear(pixels, features).requires_grad_(False)
        nn.init.normal_(self.sums.weight, std=1 / width)
        nn.init.uniform_(self.sums.bias, 0, 2 * math.pi)
        self.scale = math.sqrt(2 / features)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, pixels] in 0..1 to float32 [batch, features]."""
        return self.scale * self.sums(pixels).cos()


class MarginEndpoint(nn.Module):
    """uint8 pixels in, how far they are beyond the border of each class out, in margins."""

    def __init__(self, features: nn.Module, planes: nn.Linear) -> None:
        super().__init__()
        self.features, self.planes = features, planes

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, classes]."""
        return self.planes(self.features(image.flatten(1).float() / 255))


class MarginTrainee(Trainee):
    """Squared hinge loss of each class against all others, and squares of weights, which wide margins keep small."""

    def __init__(self, machine: MarginEndpoint, recipe: SupportVectorMachine) -> None:
        super().__init__()
        self.machine = machine
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, channels] and int64 labels [batch]."""
        images, labels = batch
        margins = self.machine(images)
        sides = 2 * functional.one_hot(labels, margins.shape[1]) - 1
        short = functional.relu(1 - sides * margins)
        loss = short.square().sum(1).mean() + self.recipe.penalty * self.machine.planes.weight.square().sum()
        self.log_mean({"train loss": loss, "inside a margin": (short > 0).any(1).float().mean()})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.machine.planes.parameters(), self.recipe.learning_rate))


@dataclass(frozen=True)
class SupportVectorMachine(ImageClassifier):
    """A large-margin classifier, linear or with a Gaussian kernel."""

    epochs: int = 40
    """Passes over the training split."""
    learning_rate: float = 0.05
    """Peak of the one-cycle schedule."""
    kernel: Literal["gaussian", "linear"] = "gaussian"
    """What parts the classes: planes among the pixels, or among the random features of a Gaussian kernel."""
    width: float = 3.5
    """Of the Gaussian, in grey of one pixel from black to white."""
    random_features: int = 2500
    """Of the Gaussian kernel."""
    penalty: float = 1e-5
    """Weight of the squares of the planes' normals: more makes margins wider and lets more images lie inside."""

    serves: ClassVar[tuple[str, ...]] = ("image -> margins",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"accuracy": 97.5, "support vectors": 50.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"accuracy": AllowedLoss(0.5)}

    def trainee(self, data: Images) -> MarginTrainee:
        """The machine with its loss and optimizer."""
        pixels = data.train[0].size
        features = (
            RandomFeatures(pixels, self.random_features, self.width) if self.kernel == "gaussian" else nn.Identity()
        )
        planes = nn.Linear(self.random_features if self.kernel == "gaussian" else pixels, len(data.labels))
        return MarginTrainee(MarginEndpoint(features, planes), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels] with int64 labels [batch]."""
        return batches(data.train, data.train_labels, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: MarginTrainee, data: Images) -> list[Served]:
        """One endpoint: image to margins."""
        served = self.endpoint(trained.machine, data)
        return [
            replace(
                served,
                outputs=(Tensor("margins", "float32", ("batch", len(data.labels))),),
                labels={"margins": data.labels},
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Accuracy on held-out images, and the share of the training images that lie inside a margin.

        Those alone have a say in where the margins lie: all others could be taken away.
        """
        margins = predict({"image": data.held_out})["margins"]
        right = margins.argmax(1) == data.held_out_labels
        support = (self.distances(predict, data) < ON_THE_MARGIN).mean()
        return [
            Metric("accuracy", right.mean() * 100, "%"),
            Metric("support vectors", support * 100, "%", higher_is_better=False),
        ]

    def distances(self, predict: Predict, data: Images) -> np.ndarray:
        """Of each training image to the nearest border, in margins; below 1 it lies inside one or on a wrong side."""
        margins = predict({"image": data.train})["margins"]
        sides = 2 * (data.train_labels[:, np.newaxis] == np.arange(margins.shape[1])) - 1
        return (margins * sides).min(1)

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """Training images inside a margin, which decide, and others far from any, which do not."""
        order = np.argsort(self.distances(predict, data))
        draw_rows({"they decide": data.train[order[:12]], "they do not": data.train[order[-12:]]}, path)
