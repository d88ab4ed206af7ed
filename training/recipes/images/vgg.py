"""VGG at small-image scale: pairs of 3x3 convolutions, each pair twice as wide as the one before.

    conch train vgg
    conch train vgg --data fashion-mnist

Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, 2014. Two 3x3 convolutions
see what one of 5x5 sees, with fewer weights. Batch normalisation is younger than the paper: with it the six
convolutions train without being begun from those of a shallower network.
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

STAGES = 3


class VGG(nn.Module):
    """Class logits [batch, classes] of images [batch, channels, height, width] in -1..1; sides of 8 or more."""

    def __init__(self, height: int, width: int, channels: int, classes: int, maps: int) -> None:
        super().__init__()
        stages, seen = [], channels
        for stage in range(STAGES):
            wide = maps * 2**stage
            stages += [convolution(seen, wide), convolution(wide, wide), nn.MaxPool2d(2)]
            seen = wide
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(seen * (height // 2**STAGES) * (width // 2**STAGES), 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to logits [batch, classes]."""
        return self.classifier(self.features(images))


@dataclass(frozen=True)
class VGGRecipe(ClassifierRecipe):
    """Pairs of 3x3 convolutions."""

    epochs: int = 10
    """Passes over the training split."""
    maps: int = 16
    """Feature maps of the first pair; each pair after it has twice as many."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 6, "batch_size": 128},
        "fashion-mnist": {"epochs": 15, "batch_size": 128, "mirror": True},
        "cifar10": {"epochs": 30, "batch_size": 128, "mirror": True, "maps": 32},
    }

    def network(self, data: Images) -> nn.Module:
        """VGG for the data's size, channels and classes."""
        return VGG(*data.shape, len(data.labels), self.maps)
