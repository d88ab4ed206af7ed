"""GoogLeNet at small-image scale: inception blocks, which look at every place in four ways at once.

    conch train googlenet
    conch train googlenet --data fashion-mnist

Szegedy and others, Going deeper with convolutions, 2014. In each block 1x1 convolutions make 3x3 and 5x5 ones cheap,
and the four results are concatenated; the mean over all places stands before the classifier. With two stages of two
blocks no gradient gets lost on the way, so that the auxiliary classifiers of the paper's nine are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from training.classifier import ClassifierRecipe
from training.convolution import convolution
from training.data.images import Images


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and pooling, side by side."""

    def __init__(self, width_in: int, ones: int, threes: int, fives: int, pooled: int) -> None:
        super().__init__()
        self.ones = convolution(width_in, ones, 1)
        self.threes = nn.Sequential(convolution(width_in, threes // 2, 1), convolution(threes // 2, threes))
        self.fives = nn.Sequential(convolution(width_in, fives // 2, 1), convolution(fives // 2, fives, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(width_in, pooled, 1))
        self.width = ones + threes + fives + pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width_in, h, w] to [batch, width, h, w]."""
        return torch.cat([self.ones(x), self.threes(x), self.fives(x), self.pooled(x)], 1)


class GoogLeNet(nn.Module):
    """Class logits [batch, classes] of images [batch, channels, height, width] in -1..1."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [convolution(channels, 24), nn.MaxPool2d(3, 2, 1)]
        width = 24
        for ones, threes, fives, pooled, shrink in (
            (16, 24, 8, 8, False),
            (16, 32, 8, 8, True),
            (24, 48, 16, 16, False),
            (32, 64, 16, 16, False),
        ):
            block = Inception(width, ones, threes, fives, pooled)
            blocks += [block, nn.MaxPool2d(3, 2, 1)] if shrink else [block]
            width = block.width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to logits [batch, classes]."""
        return self.classifier(self.dropout(self.blocks(images).mean((2, 3))))


@dataclass(frozen=True)
class GoogLeNetRecipe(ClassifierRecipe):
    """Inception blocks."""

    epochs: int = 14
    """Passes over the training split."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 6, "batch_size": 128},
        "fashion-mnist": {"epochs": 15, "batch_size": 128, "mirror": True},
        "cifar10": {"epochs": 30, "batch_size": 128, "mirror": True},
    }

    def network(self, data: Images) -> nn.Module:
        """GoogLeNet for the data's channels and classes."""
        return GoogLeNet(data.shape[2], len(data.labels))
