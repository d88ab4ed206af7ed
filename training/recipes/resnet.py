"""ResNet of 6n+2 layers with identity skip connections, for small images.

    conch train resnet
    conch train resnet --data fashion-mnist
    conch train resnet --depth 56 --epochs 30

Layer plan: He et al., Deep residual learning for image recognition, 2015, section 4.2. Pre-activation blocks: He et
al., Identity mappings in deep residual networks, 2016. Initialisation: He et al., Delving deep into rectifiers, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from conch.contracts.errors import ConchError
from training.classifier import ClassifierRecipe
from training.data.images import Images


class Block(nn.Module):
    """Two 3x3 convolutions whose result is added to an unchanged copy of the input (option A of the first paper).

    Where the width doubles, the copy is subsampled and padded with zero channels: a skip connection has no weights.
    """

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.stride, self.new_channels = stride, width_out - width_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width_in, h, w] to [batch, width_out, h / stride, w / stride]."""
        y = self.conv1(functional.relu(self.norm1(x)))
        y = self.conv2(functional.relu(self.norm2(y)))
        if self.stride != 1 or self.new_channels:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return x + y


class ResNet(nn.Module):
    """Class logits [batch, classes] of images [batch, channels, height, width] in -1..1."""

    def __init__(self, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        blocks_a_stage = (depth - 2) // 6
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        width = 16
        for stage_width in (16, 32, 64):
            for index in range(blocks_a_stage):
                stride = 2 if index == 0 and stage_width > 16 else 1
                blocks.append(Block(width, stage_width, stride))
                width = stage_width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        self.apply(he_initialise)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to logits [batch, classes]."""
        features = functional.relu(self.norm(self.blocks(self.stem(images))))
        return self.classifier(features.mean((2, 3)))


def he_initialise(module: nn.Module) -> None:
    """Weights with variance 2 / fan-out, which keeps a ReLU network's gradients the same size at every depth."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@dataclass(frozen=True)
class ResNetRecipe(ClassifierRecipe):
    """Pre-activation ResNet on small images."""

    epochs: int = 10
    """Passes over the training split."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    depth: int = 20
    """Layers, 6n+2: 20, 32, 44, 56..."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 6, "batch_size": 128},
        "fashion-mnist": {
            "epochs": 15, "batch_size": 128, "weight_decay": 0.05, "mirror": True, "label_smoothing": 0.1,
        },
        "cifar10": {
            "epochs": 60, "batch_size": 128, "weight_decay": 0.05, "shift": 4, "mirror": True, "label_smoothing": 0.1,
        },
    }  # fmt: skip
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        **ClassifierRecipe.floors,
        "fashion-mnist": {"accuracy": 93.0},
    }

    def __post_init__(self) -> None:
        """Refuse depths that are no 6n+2."""
        super().__post_init__()
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ConchError(f"--depth {self.depth}: a ResNet of this plan has 6n+2 layers: 8, 14, 20, 32, 44, 56...")

    def network(self, data: Images) -> nn.Module:
        """A ResNet of the asked-for depth for the data's channels and classes."""
        return ResNet(data.shape[2], len(data.labels), self.depth)
