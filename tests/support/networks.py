"""Networks as a user might bring them, for `conch export module`; no recipe, no training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Brightness(nn.Module):
    """Mean [batch, channels] of pixels uint8 [batch, height, width, channels]."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.float().mean((1, 2))


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions (He et al., 2015; the stride is on the 3x3)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        self.shortcut = (
            nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
            if stride > 1 or channels != 4 * width
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """Logits [batch, 1000] of images [batch, 3, height, width]; 25,557,032 parameters."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 64
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for index in range(depth):
                blocks.append(Bottleneck(channels, width, stride if index == 0 else 1))
                channels = 4 * width
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(2048, 1000)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(image))
        return logits


class Encoder(nn.Module):
    """A transformer encoder: logits [batch, time, 103] and a summary [batch, 32] of tokens [batch, time]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(103, 32)
        self.position = nn.Parameter(torch.randn(64, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 103)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = self.encoder(self.embedding(tokens) + self.position[: tokens.shape[1]])
        return self.head(states), states.mean(1)


class Halving(nn.Module):
    """Its output's second axis is half of its input's: a size with no name of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool1d(x, 2)


class Small(nn.Module):
    """Three numbers of four."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x)


class InDictionary(Small):
    def forward(self, x: torch.Tensor) -> Any:
        return {"y": self.linear(x)}


class WithoutBatch(Small):
    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x).sum()


class MixesRows(Small):
    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x) - self.linear(x).mean(0, keepdim=True)


def raises() -> nn.Module:
    """A function that fails."""
    raise RuntimeError("no configuration file")


def number() -> int:
    """A function that returns no module."""
    return 3


SMALL = Small()
"""A module itself, in training mode."""


class BlanksItsInput(Small):
    """Writes into its input through a view, which the torchscript exporter leaves out of the graph."""

    def forward(self, x: torch.Tensor) -> Any:
        x.view(-1, 2, 2).masked_fill_(torch.tensor([True, False]), 0.25)
        return x * 2


class CrossAttention(nn.Module):
    """Queries and a memory of another length; its weights are cut by a Split of a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> Any:
        return self.attention(query, memory, memory, need_weights=False)[0]


class MeanEmbedding(nn.Module):
    """An operator of its graph is called `embedding`."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.table(tokens).mean(1)


class Padded(nn.Module):
    """A text classifier in which zeros are padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.table = nn.Embedding(50, 16, padding_idx=0)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.encoder(self.table(tokens), src_key_padding_mask=tokens == 0)


class TimeFirst(nn.Module):
    """A recurrent layer whose axis 0 is the time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)[0]


class LastStep(TimeFirst):
    """The last of its axis 0, which is a time for each item of its axis 1."""

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)[0][-1]


class LastState(nn.Module):
    """What a recurrent layer ends with: its layers are axis 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)[1]


class HasBfloat16(Small):
    """As a checkpoint in bfloat16 is often loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.linear.bfloat16()


class GivesBfloat16(Small):
    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x).bfloat16()


class AutocastsToBfloat16(Small):
    """No parameter, input or output is bfloat16."""

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            y = self.linear(x)
        return y.float()


class GivesNone(Small):
    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x), None


class GivesTwo(Small):
    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x), x


class Untranslatable(Small):
    """No exporter has an operator for it."""

    def forward(self, x: torch.Tensor) -> Any:
        return torch.special.bessel_j0(x)
