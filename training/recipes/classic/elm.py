"""An extreme learning machine: a hidden layer of random weights that nobody trains, and a readout by one solve.

    conch train elm
    conch train elm --width 4000
    conch train elm --data mnist

Huang, Zhu and Siew, Extreme learning machine: theory and applications, 2006. Random projections that are bent tell
classes apart nearly as well as trained ones do, if there are enough of them, and finding the readout takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from training.data.images import Images
from training.least_squares import SolvedClassifier
from training.recipe import AllowedLoss


class RandomLayer(nn.Module):
    """Tanh of random sums of pixels; weights are drawn once, of a variance that suits the number of pixels."""

    def __init__(self, pixels: int, width: int) -> None:
        super().__init__()
        self.sums = nn.Linear(pixels, width).requires_grad_(False)
        nn.init.normal_(self.sums.weight, std=2 / pixels**0.5)
        nn.init.uniform_(self.sums.bias, -1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, width] in -1..1."""
        return self.sums(images.flatten(1).float() / 127.5 - 1).tanh()


@dataclass(frozen=True)
class ExtremeLearningMachine(SolvedClassifier):
    """A random hidden layer with a solved readout."""

    width: int = 1500
    """Hidden units."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mnist": {"width": 4000}}
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"accuracy": 97.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"accuracy": AllowedLoss(0.5)}

    def features(self, data: Images) -> tuple[nn.Module, int]:
        """The random layer."""
        height, width, channels = data.shape
        return RandomLayer(height * width * channels, self.width), self.width
