"""AlexNet at small-image scale: five convolutions, overlapping pooling, and dropout of half the units.

    conch train alexnet
    conch train alexnet --data fashion-mnist

Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012. Pooling windows
of 3 at steps of 2 and the plan of the layers are the paper's; the maps are fewer and the first convolution has no
stride, for images of 28x28. Local response normalisation, which nobody found to help later, is left out.
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

SMALLEST = 15
"""Pixels a side of which three poolings leave one."""


class AlexNet(nn.Module):
    """Class logits [batch, classes] of images [batch, channels, height, width] in -1..1."""

    def __init__(self, height: int, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64 * pooled(height) * pooled(width), 256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to logits [batch, classes]."""
        return self.classifier(self.features(images))


def pooled(side: int) -> int:
    """What three overlapping poolings leave of a side."""
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side


@dataclass(frozen=True)
class AlexNetRecipe(ClassifierRecipe):
    """Five convolutions with overlapping pooling and dropout."""

    epochs: int = 16
    """Passes over the training split."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 8, "batch_size": 128},
        "fashion-mnist": {"epochs": 15, "batch_size": 128, "mirror": True},
        "cifar10": {"epochs": 30, "batch_size": 128, "mirror": True},
    }

    def network(self, data: Images) -> nn.Module:
        """AlexNet for the data's size, channels and classes.

        Raises:
            ConchError: its poolings would leave nothing of the images.
        """
        height, width, channels = data.shape
        if min(height, width) < SMALLEST:
            raise ConchError(f"AlexNet takes images of {SMALLEST} pixels a side or more, got {height}x{width}")
        return AlexNet(height, width, channels, len(data.labels))
