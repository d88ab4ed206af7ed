"""LeNet-5 (LeCun et al., Gradient-based learning applied to document recognition, 1998), a small image classifier.

conch train cnn
conch train cnn --data mnist
conch train cnn --epochs 30 --seed 7
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from conch.contracts.errors import ConchError
from training.classifier import ClassifierRecipe
from training.data.images import Images


class LeNet5(nn.Module):
    """Class logits [batch, classes] of images [batch, channels, side, side] in -1..1; the side is 28 or 32.

    The paper's layer plan, 28x28 padded to its 32x32: maps are 28, 14, 10 and 5 wide. ReLU and max pooling stand
    where the paper had scaled tanh and trainable averages, and every map of the third layer sees every map below.
    """

    def __init__(self, side: int, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=(32 - side) // 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, side, side] to logits [batch, classes]."""
        return self.classifier(self.features(images))


@dataclass(frozen=True)
class CNN(ClassifierRecipe):
    """LeNet-5 on small images."""

    epochs: int = 40
    """Passes over the training split."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 15, "batch_size": 256, "learning_rate": 6e-3},
        "fashion-mnist": {"epochs": 20, "batch_size": 64, "mirror": True},
        "cifar10": {"epochs": 30, "batch_size": 64, "mirror": True},
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        **ClassifierRecipe.floors,
        "mnist": {"accuracy": 99.1},
    }

    def network(self, data: Images) -> nn.Module:
        """LeNet-5 for the data's channels and classes.

        Raises:
            ConchError: the images are of another size than the paper's plan takes.
        """
        height, width, channels = data.shape
        if (height, width) not in ((28, 28), (32, 32)):
            raise ConchError(f"LeNet-5 takes images of 28x28 or 32x32, those of {data.name} are {height}x{width}")
        return LeNet5(height, channels, len(data.labels))
