"""A multilayer perceptron: two fully connected hidden layers, the classifier before convolutions.

    conch train mlp
    conch train mlp --activation tanh
    conch train mlp --data mnist

Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from training.classifier import ClassifierRecipe
from training.data.images import Images

ACTIVATIONS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


@dataclass(frozen=True)
class MultilayerPerceptron(ClassifierRecipe):
    """Two fully connected hidden layers on small images."""

    epochs: int = 25
    """Passes over the training split."""
    width: int = 256
    """Units of each hidden layer."""
    activation: Literal["linear", "sigmoid", "tanh", "relu"] = "relu"
    """Of the hidden units; with linear ones the whole network is one linear map."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mnist": {"epochs": 12, "batch_size": 128, "shift": 1}}
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "digits": {"accuracy": 96.0},
        "mnist": {"accuracy": 98.0},
    }

    def network(self, data: Images) -> nn.Module:
        """Logits [batch, classes] of images [batch, channels, height, width]."""
        height, width, channels = data.shape
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(height * width * channels, self.width),
            ACTIVATIONS[self.activation](),
            nn.Linear(self.width, self.width),
            ACTIVATIONS[self.activation](),
            nn.Linear(self.width, len(data.labels)),
        )
