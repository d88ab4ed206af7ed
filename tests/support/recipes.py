"""Recipes small enough for unit tests, and one of every way to go wrong."""

from __future__ import annotations

from pathlib import Path

LINE = '''
"""A straight line through noise-free points: the smallest model that can be trained, exported and served."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import nn

from training.data.batches import batches
from training.recipe import Metric, Recipe, Served, Tensor


class Points:
    """y = 2 x + 1 on 64 points; the last 16 are held out."""

    name = "points"
    sha256 = "0" * 64

    def __init__(self) -> None:
        self.x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
        self.y = 2 * self.x + 1

    def describe(self) -> dict[str, Any]:
        return {"train": 48, "held_out": 16}


class Trainee(LightningModule):
    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1)
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        x, y = batch
        loss = (self.network(x) - y).square().mean()
        self.log("train loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.learning_rate)


@dataclass(frozen=True)
class Line(Recipe):
    """A straight line."""

    data: str = "points"
    epochs: int = 30
    batch_size: int = 8
    learning_rate: float = 0.2

    floors = {"points": {"error": 0.01}}

    def dataset(self) -> Points:
        return Points()

    def trainee(self, data: Points) -> Trainee:
        return Trainee(self.learning_rate)

    def loaders(self, data: Points) -> Any:
        return batches(data.x[:48], data.y[:48], size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: Trainee, data: Points) -> list[Served]:
        return [
            Served(
                name="line",
                module=trained.network.eval(),
                inputs=(Tensor("x", "float32", ("batch", 1), low=-1, high=1),),
                outputs=(Tensor("y", "float32", ("batch", 1)),),
                examples={"x": data.x},
            )
        ]

    def score(self, predict: Any, data: Points) -> list[Metric]:
        error = np.abs(predict({"x": data.x[48:]})["y"] - data.y[48:]).max()
        return [Metric("error", float(error), higher_is_better=False)]
'''


def write_line_recipe(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the recipe to `line.py`, with pieces of its text replaced; each piece must be there."""
    text = LINE.lstrip()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "line.py"
    path.write_text(text)
    return path
