"""Weights by one least-squares solve: what networks share of which only the last layer learns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from training.classifier import ImageClassifier
from training.data.batches import batches
from training.data.images import Images
from training.loop.trainee import GradientFree
from training.served import Served


class LeastSquares:
    """The sums of a ridge regression over any number of batches, in float64."""

    def __init__(self) -> None:
        self.gram: torch.Tensor | None = None
        """Inputs by inputs, a column of ones among them."""
        self.cross: torch.Tensor | None = None
        """Inputs by targets."""

    def add(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take rows: inputs [n, features] and targets [n, outputs]."""
        one_more = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1).double()
        gram, cross = one_more.T @ one_more, one_more.T @ targets.double()
        self.gram = gram if self.gram is None else self.gram + gram
        self.cross = cross if self.cross is None else self.cross + cross

    def solve(self, ridge: float, into: nn.Linear) -> None:
        """Put the weights and the bias with the least squared error plus `ridge` times their squares into a layer."""
        assert self.gram is not None
        assert self.cross is not None
        penalty = ridge * torch.eye(len(self.gram), dtype=self.gram.dtype, device=self.gram.device)
        found = torch.linalg.solve(self.gram + penalty, self.cross)
        into.weight.copy_(found[:-1].T)
        into.bias.copy_(found[-1])
        self.gram = self.cross = None


class ReadoutTrainee(GradientFree):
    """Fixed features of images, and a linear layer by least squares that says 1 of their class and 0 of any other."""

    def __init__(self, features: nn.Module, width: int, classes: int, ridge: float) -> None:
        super().__init__()
        self.features = features
        self.readout = nn.Linear(width, classes)
        self.ridge = ridge
        self.sums = LeastSquares()
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Add uint8 images [batch, height, width, channels] with int64 labels [batch] to the sums."""
        images, labels = batch
        targets = nn.functional.one_hot(labels, self.readout.out_features)
        features = self.features(images)
        self.sums.add(features, targets)
        return {"mean feature": features.mean()}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Solve."""
        self.sums.solve(self.ridge, self.readout)
        return {"norm of the readout": self.readout.weight.norm()}


def shares(said: torch.Tensor) -> torch.Tensor:
    """Probabilities [..., classes] of what a readout says: what errs least from 0 and 1 is one, and is cut there."""
    cut = said.clamp(1e-6, 1.0)
    return cut / cut.sum(-1, keepdim=True)


class ReadoutEndpoint(nn.Module):
    """uint8 pixels in, class probabilities out."""

    def __init__(self, trained: ReadoutTrainee) -> None:
        super().__init__()
        self.features, self.readout = trained.features, trained.readout

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, classes] that sum to 1."""
        return shares(self.readout(self.features(image)))


@dataclass(frozen=True)
class SolvedClassifier(ImageClassifier):
    """A recipe of fixed features with a readout by least squares; it adds its features."""

    epochs: int = field(default=1, init=False)
    learning_rate: float = field(default=1.0, init=False)
    batch_size: int = 256
    """Images whose features are added to the sums at once."""
    ridge: float = 1.0
    """Weight of the readout's squares beside the squared error."""

    learns_by: ClassVar[str] = "least squares"

    @abstractmethod
    def features(self, data: Images) -> tuple[nn.Module, int]:
        """What turns uint8 [batch, height, width, channels] into float32 [batch, features], and how many they are."""

    def trainee(self, data: Images) -> ReadoutTrainee:
        """The features with an empty readout."""
        return ReadoutTrainee(*self.features(data), len(data.labels), self.ridge)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """All uint8 images [batch, height, width, channels] with int64 labels [batch], in order."""
        return batches(data.train, data.train_labels, size=self.batch_size), None

    def served(self, trained: ReadoutTrainee, data: Images) -> list[Served]:
        """One endpoint: image to probabilities."""
        return [self.endpoint(ReadoutEndpoint(trained), data)]
