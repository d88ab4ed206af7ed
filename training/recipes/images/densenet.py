"""DenseNet at small-image scale: every layer of a block reads what all layers before it wrote.

    conch train densenet
    conch train densenet --growth 24 --data fashion-mnist

Huang and others, Densely connected convolutional networks, 2016. A layer adds a few maps (`--growth`) and changes none,
so that the classifier sees those of every depth; between blocks a 1x1 convolution halves their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from training.classifier import ClassifierRecipe
from training.data.images import Images

BLOCKS, LAYERS = 3, 4


class DenseLayer(nn.Module):
    """Normalisation, ReLU and a 3x3 convolution, whose maps are put behind those that it read."""

    def __init__(self, width_in: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width_in)
        self.conv = nn.Conv2d(width_in, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width_in, h, w] to [batch, width_in + growth, h, w]."""
        return torch.cat([x, self.conv(functional.relu(self.norm(x)))], 1)


class DenseNet(nn.Module):
    """Class logits [batch, classes] of images [batch, channels, height, width] in -1..1."""

    def __init__(self, channels: int, classes: int, growth: int) -> None:
        super().__init__()
        width = 2 * growth
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)]
        for block in range(BLOCKS):
            for _ in range(LAYERS):
                blocks.append(DenseLayer(width, growth))
                width += growth
            if block < BLOCKS - 1:
                blocks += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1), nn.AvgPool2d(2)]
                width //= 2
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to logits [batch, classes]."""
        return self.classifier(functional.relu(self.norm(self.blocks(images))).mean((2, 3)))


@dataclass(frozen=True)
class DenseNetRecipe(ClassifierRecipe):
    """Dense blocks."""

    epochs: int = 14
    """Passes over the training split."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    growth: int = 12
    """Maps that each layer adds."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 6, "batch_size": 128},
        "fashion-mnist": {"epochs": 15, "batch_size": 128, "mirror": True},
        "cifar10": {"epochs": 30, "batch_size": 128, "mirror": True, "growth": 24},
    }

    def network(self, data: Images) -> nn.Module:
        """DenseNet for the data's channels and classes."""
        return DenseNet(data.shape[2], len(data.labels), self.growth)
