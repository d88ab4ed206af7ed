"""A small convolutional recipe for the gate; its settings decide whether 8 bits are enough."""

from __future__ import annotations

from pathlib import Path

TEXT = '''
"""Bright above or bright below: a two-class problem that a small network solves in a second."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import nn
from torch.nn import functional

from training.data.batches import batches
from training.recipe import AllowedLoss, Metric, Recipe, Served, Tensor


class Halves:
    name = "halves"
    sha256 = "1" * 64

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.labels = np.arange(160) % 2
        images = random.integers(0, 120, (160, 8, 8, 1))
        images[self.labels == 0, :4] += 100
        images[self.labels == 1, 4:] += 100
        self.images = images.astype(np.uint8)

    def describe(self) -> dict[str, Any]:
        return {"train": 128, "held_out": 32}


class Network(nn.Module):
    """With a large `stretch` half the channels of one tensor are so large that 8 bits leave nothing of the others."""

    def __init__(self, stretch: float) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.widen, self.narrow = nn.Conv2d(16, 32, 1, bias=False), nn.Conv2d(32, 16, 1, bias=False)
        one, none = torch.eye(16), torch.zeros(16, 16)
        self.widen.weight.data = torch.cat([one * stretch, one])[:, :, None, None]
        self.narrow.weight.data = torch.cat([none, one], 1)[:, :, None, None]
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.features(image.permute(0, 3, 1, 2).float() / 255)
        return functional.softmax(self.head(self.narrow(functional.relu(self.widen(x)))), dim=1)


class Trainee(LightningModule):
    def __init__(self, recipe: "Bright") -> None:
        super().__init__()
        self.network, self.recipe = Network(recipe.stretch), recipe
        for layer in (self.network.widen, self.network.narrow):
            layer.requires_grad_(False)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        images, labels = batch
        loss = functional.nll_loss(self.network(images).log(), labels)
        self.log("train loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam((p for p in self.parameters() if p.requires_grad), self.recipe.learning_rate)


@dataclass(frozen=True)
class Bright(Recipe):
    """Bright above or below."""

    data: str = "halves"
    epochs: int = 8
    stretch: float = STRETCH

    allowed_loss = {"accuracy": AllowedLoss(ALLOWED)}

    def dataset(self) -> Halves:
        return Halves()

    def trainee(self, data: Halves) -> Trainee:
        return Trainee(self)

    def loaders(self, data: Halves) -> Any:
        return batches(data.images[:128], data.labels[:128], size=32, shuffle_seed=0), None

    def served(self, trained: Trainee, data: Halves) -> list[Served]:
        return [
            Served(
                name="bright",
                module=trained.network.eval(),
                inputs=(Tensor("image", "uint8", ("batch", 8, 8, 1)),),
                outputs=(Tensor("probabilities", "float32", ("batch", 2)),),
                examples={"image": data.images[128:]},
                calibration={"image": data.images[:128]},
                largest_batch=8,
            )
        ]

    def score(self, predict: Any, data: Halves) -> list[Metric]:
        right = predict({"image": data.images[128:]})["probabilities"].argmax(1) == data.labels[128:]
        return [Metric("accuracy", float(right.mean() * 100), "%")]
'''


def write_bright_recipe(folder: Path, stretch: float = 1.0, allowed: float = 0.5) -> Path:
    """Write the recipe to `bright.py`.

    Args:
        folder: where.
        stretch: 1 for a network that 8 bits suffice for; 1e5 for one of which two layers need more.
        allowed: points of accuracy that may be lost; below 0 nothing can pass.
    """
    path = folder / "bright.py"
    path.write_text(TEXT.lstrip().replace("STRETCH", repr(stretch)).replace("ALLOWED", repr(allowed)))
    return path
