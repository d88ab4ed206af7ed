"""A deep belief network: restricted Boltzmann machines on top of each other, fine-tuned to a classifier.

    conch train deep_belief
    conch train deep_belief --labelled 100
    conch train deep_belief --labelled 100 --epochs 30 --unsupervised 0

Hinton, Osindero and Teh, A fast learning algorithm for deep belief nets, 2006. Each layer learns without labels what
the one below makes of the images; the labels only turn what is there. The last two commands learn from a hundred
labels, after that and without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.classifier import ImageClassifier
from training.contrastive_divergence import Momentum, RestrictedBoltzmann
from training.data.batches import batches
from training.data.images import Images
from training.loop.trainee import Trainee
from training.recipe import AllowedLoss, Served

NO_LABEL = -1


class BeliefNetwork(nn.Module):
    """Logits [batch, classes] of pixels [batch, pixels] in 0..1, by way of two layers of features."""

    def __init__(self, pixels: int, width: int, classes: int) -> None:
        super().__init__()
        self.first = RestrictedBoltzmann(pixels, width)
        self.second = RestrictedBoltzmann(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, visible: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, pixels] to float32 [batch, classes]."""
        return self.head(self.second.up(self.first.up(visible)))


class BeliefEndpoint(nn.Module):
    """uint8 pixels in, class probabilities out."""

    def __init__(self, network: BeliefNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, classes] that sum to 1."""
        return functional.softmax(self.network(image.flatten(1).float() / 255), dim=1)


class BeliefTrainee(Trainee):
    """Contrastive divergence of one layer after the other, then cross-entropy of them all."""

    def __init__(self, network: BeliefNetwork, recipe: DeepBelief) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.recipe = recipe
        self.momentum = Momentum()

    def on_train_epoch_start(self) -> None:
        """Let go of the momentum, which is no part of the state that a killed run goes on from."""
        self.momentum = Momentum()

    def training_step(self, batch: Any, _: int) -> None:
        """Learn from uint8 images [batch, height, width, channels] and int64 labels [batch], or `NO_LABEL`."""
        images, labels = batch
        visible = images.flatten(1).float() / 255
        error = loss = torch.zeros((), device=visible.device)
        if self.current_epoch < 2 * self.recipe.unsupervised:
            error = self._dream(visible, first=self.current_epoch < self.recipe.unsupervised)
        elif (known := labels != NO_LABEL).any():
            loss = functional.cross_entropy(self.network(visible[known]), labels[known])
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log_mean({"squared error": error, "train loss": loss})

    @torch.no_grad()
    def _dream(self, visible: torch.Tensor, first: bool) -> torch.Tensor:
        """A step of contrastive divergence of one layer; the squared error of what comes back."""
        network = self.network
        layer, seen = (network.first, visible) if first else (network.second, network.first.up(visible))
        return self.momentum.step(layer, seen, self.recipe.unsupervised_rate)

    def configure_optimizers(self) -> Any:
        """For the fine-tuning."""
        self.network.requires_grad_(True)
        return torch.optim.Adam(self.parameters(), self.recipe.learning_rate, weight_decay=1e-5)


@dataclass(frozen=True)
class DeepBelief(ImageClassifier):
    """Stacked restricted Boltzmann machines, fine-tuned to a classifier."""

    epochs: int = 60
    """Passes over the training split, those without labels among them."""
    unsupervised: int = 20
    """Passes of each of the two layers that look at no label."""
    unsupervised_rate: float = 0.1
    """Share of a step in them."""
    learning_rate: float = 1e-3
    """Of the fine-tuning."""
    width: int = 256
    """Features of each layer."""
    labelled: int = 0
    """So many training images keep their label; 0 is all."""

    learns_by: ClassVar[str] = "contrastive divergence, then gradient descent"
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"accuracy": 97.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"accuracy": AllowedLoss(0.5)}

    def __post_init__(self) -> None:
        """Refuse a run that ends before the labels."""
        super().__post_init__()
        if self.epochs <= 2 * self.unsupervised:
            raise ConchError(
                f"--epochs {self.epochs}: two layers of --unsupervised {self.unsupervised} leave none for the labels; "
                f"it must be more than {2 * self.unsupervised}"
            )

    def trainee(self, data: Images) -> BeliefTrainee:
        """The network with its optimizer."""
        return BeliefTrainee(BeliefNetwork(data.train[0].size, self.width, len(data.labels)), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels] with int64 labels [batch]."""
        labels = data.train_labels.copy()
        if self.labelled:
            labels[np.random.default_rng(0).permutation(len(labels))[self.labelled :]] = NO_LABEL
        return batches(data.train, labels, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: BeliefTrainee, data: Images) -> list[Served]:
        """One endpoint: image to probabilities."""
        return [self.endpoint(BeliefEndpoint(trained.network), data)]
