"""A sparse autoencoder: many numbers in a code, of which each image needs few.

    conch train sparse_autoencoder
    conch train sparse_autoencoder --sparsity 0.001

Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code for natural images,
1996. An image is a sum of few of many patterns; the L1 norm of the code makes them few. The encoder takes the steps of
Gregor and LeCun, Learning fast approximations of sparse coding, 2010, in which numbers that say the same of an image
put each other out. Held against principal components, as many as an image of it uses numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.checkpoints.drawing import draw_rows
from training.coding import CodingRecipe, CodingTrainee, by_principal_components
from training.data.images import Images
from training.recipe import Predict

STEPS = 3
"""How often the numbers of a code see each other."""
RISE = 0.3
"""Share of the training over which the L1 norm's weight rises; at its full weight from the start it would put numbers
out for good before they mean anything."""


class SparseCoder(nn.Module):
    """Codes without negative numbers, and images that are the mean image with patterns of length 1 added to it."""

    mean: torch.Tensor

    def __init__(self, mean: torch.Tensor, code: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        patterns = functional.normalize(torch.randn(code, mean.numel()), dim=1)
        self.patterns = nn.Parameter(patterns)
        self.found = nn.Linear(mean.numel(), code)
        self.found.weight.data = patterns.clone()
        self.found.bias.data.zero_()
        self.explained = nn.Linear(code, code, bias=False)
        self.explained.weight.data.zero_()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 [batch, channels, height, width] in 0..1 to codes [batch, code] and images, unbounded."""
        found = self.found((images - self.mean).flatten(1))
        code = found.relu()
        for _ in range(STEPS):
            code = (found + self.explained(code)).relu()
        return code, (code @ functional.normalize(self.patterns, dim=1)).view_as(images) + self.mean


class SparseTrainee(CodingTrainee):
    """Squared error and the L1 norm of the code."""

    def __init__(self, coder: SparseCoder, recipe: SparseAutoencoder) -> None:
        super().__init__(coder, recipe)
        self.sparsity = recipe.sparsity

    def penalty(self, code: torch.Tensor) -> torch.Tensor:
        """The norm with a weight that rises."""
        risen = min(1.0, (self.global_step + 1) / (RISE * self.trainer.estimated_stepping_batches))
        return risen * self.sparsity * code.sum(1).mean()


@dataclass(frozen=True)
class SparseAutoencoder(CodingRecipe):
    """Codes of which each image uses few numbers."""

    epochs: int = 40
    """Passes over the training split."""
    code: int = 128
    """Numbers of a code."""
    sparsity: float = 2e-3
    """Weight of the code's L1 norm beside the squared error of a pixel."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"epochs": 10, "batch_size": 128} for name in ("mnist", "fashion-mnist")
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"PSNR over PCA": 1.5, "active numbers": 12.0}}

    def trainee(self, data: Images) -> SparseTrainee:
        """The network with its loss and optimizer."""
        mean = torch.from_numpy(data.train.mean(0, dtype=np.float64) / 255).float().permute(2, 0, 1).contiguous()
        return SparseTrainee(SparseCoder(mean, self.code), self)

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """Held-out images, what comes back of them, and what comes of as many principal components."""
        found = predict({"image": data.held_out})
        active = max(1, round(float((found["code"] != 0).sum(1).mean())))
        rows = {
            "image": data.held_out[:12],
            "sparse": found["reconstruction"][:12],
            "PCA": by_principal_components(data, active)[:12],
        }
        draw_rows(rows, path)
