"""Served models for the proof: one that is right, and one for every known way to be wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from training.recipe import Served, Tensor


class Affine(nn.Module):
    """Float32 [batch, 4] to [batch, 3]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class MixesRows(Affine):
    """Every row depends on the others, as a batch statistic left in a graph makes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x - x.mean(0, keepdim=True))


class FreezesBatch(Affine):
    """Adds a constant as long as the example's batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.reshape(2, 4))


class LeftInTraining(Affine):
    """A batch normalisation nobody put into eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.norm(x))


def served(module: nn.Module) -> Served:
    """A module in eval mode, as a recipe would serve it."""
    rows = np.random.default_rng(0).standard_normal((40, 4), np.float32)
    return Served(
        name="toy",
        module=module.eval(),
        inputs=(Tensor("x", "float32", ("batch", 4), low=-3, high=3),),
        outputs=(Tensor("y", "float32", ("batch", 3)),),
        examples={"x": rows},
    )


def declared_otherwise(one: Served, dtype: str) -> Served:
    """The same model with another dtype declared for its output."""
    return replace(one, outputs=(replace(one.outputs[0], dtype=dtype),))
