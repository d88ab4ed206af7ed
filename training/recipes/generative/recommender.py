"""A recommender: what somebody would think of each thing, from what they think of some.

    conch train recommender
    conch train recommender --code 16

Sedhain, Menon, Sanner and Xie, AutoRec: autoencoders meet collaborative filtering, 2015. An autoencoder gets a person's
ratings with their gaps, learns from those that are there alone, and its answer has no gaps. Some of the ratings are
hidden from it as it learns, so that it has to know them from the others (Vincent and others, Extracting and composing
robust features with denoising autoencoders, 2008). Held against the matrix's means, of a thing and of a person, and
asked for ratings that it was never shown, of people that it never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_matrices
from training.data.batches import batches
from training.data.ratings import BEST, GAP, WORST, Ratings, ratings
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor

EXAMPLES = 64


class AutoRec(nn.Module):
    """Ratings [batch, things] with gaps to ratings without, unbounded."""

    means: torch.Tensor

    def __init__(self, means: torch.Tensor, code: int) -> None:
        super().__init__()
        self.register_buffer("means", means)
        self.encoder = nn.Linear(len(means), code)
        self.decoder = nn.Linear(code, len(means))

    def forward(self, ratings: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, things] to the same; what is not above 0, as NaN, is a gap and says nothing."""
        above = torch.where(ratings > GAP, ratings - self.means, 0.0)
        return self.means + self.decoder(self.encoder(above).tanh())


class RecommenderEndpoint(nn.Module):
    """Ratings with gaps in, all of them out."""

    def __init__(self, network: AutoRec) -> None:
        super().__init__()
        self.network = network

    def forward(self, ratings: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, things] to the same, within the scale."""
        return self.network(ratings).clamp(WORST, BEST)


class RecommenderTrainee(Trainee):
    """Squared error of the ratings that are there, some of them hidden from the network."""

    def __init__(self, network: AutoRec, recipe: Recommender) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 ratings [batch, things]."""
        ratings = batch[0].float()
        shown = ratings * (torch.rand_like(ratings) >= self.recipe.hidden)
        rated = ratings > GAP
        loss = ((self.network(shown) - ratings).square() * rated).sum() / rated.sum().clamp(min=1)
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        optimizer = torch.optim.AdamW(
            self.parameters(), self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        return one_cycle(self, optimizer)


def means_of_things(table: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean rating of each thing of [people, things]; of one that nobody rated the mean of all."""
    rated = table != GAP
    return np.where(rated.any(0), table.sum(0) / np.maximum(rated.sum(0), 1), table[rated].mean())


def by_means(data: Ratings) -> NDArray[np.float64]:
    """A thing's mean and how far a held-out person's shown ratings lie from the means, on average: [people, things]."""
    things, rated = means_of_things(data.train), data.shown != GAP
    kindness = ((data.shown - things) * rated).sum(1) / np.maximum(rated.sum(1), 1)
    return np.clip(things + kindness[:, np.newaxis], WORST, BEST)


def rmse(found: NDArray[Any], asked: NDArray[np.uint8]) -> float:
    """Root mean squared error in steps of the scale, of the ratings that were asked for."""
    rated = asked != GAP
    return float(np.sqrt(np.square(found[rated] - asked[rated].astype(np.float64)).mean()))


@dataclass(frozen=True)
class Recommender(Recipe):
    """Ratings of everything, from some."""

    data: str = "ratings"
    """ratings: of 3,000 people and 120 things, from a seeded generator."""
    epochs: int = 60
    """Passes over the training split."""
    batch_size: int = 64
    """People of one optimizer step."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.1
    """Decoupled weight decay."""
    code: int = 32
    """Numbers between a person's ratings and those of the answer."""
    hidden: float = 0.3
    """Share of the ratings that a training step hides."""

    serves: ClassVar[tuple[str, ...]] = ("ratings -> expected",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"ratings": {"RMSE below matrix means": 20.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"RMSE below matrix means": AllowedLoss(1.0)}

    def dataset(self) -> Ratings:
        """The ratings.

        Raises:
            ConchError: no such data set.
        """
        if self.data != "ratings":
            raise ConchError(f"--data {self.data}: no such ratings; known are ratings")
        return ratings()

    def trainee(self, data: Ratings) -> RecommenderTrainee:
        """The network with its loss and optimizer."""
        means = torch.from_numpy(means_of_things(data.train)).float()
        return RecommenderTrainee(AutoRec(means, self.code), self)

    def loaders(self, data: Ratings) -> tuple[DataLoader[Any], None]:
        """uint8 ratings [batch, things]."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: RecommenderTrainee, data: Ratings) -> list[Served]:
        """One endpoint: a person's ratings, 0 where there is none, to what is expected of all."""
        shape = ("batch", data.train.shape[1])
        return [
            Served(
                name=self.name(),
                module=RecommenderEndpoint(trained.network).eval(),
                inputs=(Tensor("ratings", "float32", shape, low=GAP, high=BEST),),
                outputs=(Tensor("expected", "float32", shape),),
                examples={"ratings": data.shown[:EXAMPLES].astype(np.float32)},
                calibration={"ratings": data.train[: 4 * EXAMPLES].astype(np.float32)},
            )
        ]

    def score(self, predict: Predict, data: Ratings) -> list[Metric]:
        """How much smaller the error of ratings never shown is than that of the means, and what it is."""
        ours = rmse(predict({"ratings": data.shown.astype(np.float32)})["expected"], data.asked)
        theirs = rmse(by_means(data), data.asked)
        return [
            Metric("RMSE below matrix means", 100 * (1 - ours / theirs), "%"),
            Metric("RMSE", ours, higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Ratings, path: Path) -> None:
        """What 30 held-out people were shown to think, what is expected, and what else they say when asked."""
        shown = data.shown[:30]
        expected = predict({"ratings": shown.astype(np.float32)})["expected"]
        tables = {"shown": shown, "expected": expected, "asked": data.asked[:30]}
        drawn = {name: np.where(table == GAP, np.nan, table.astype(np.float64)) for name, table in tables.items()}
        draw_matrices(drawn, WORST, BEST, path)
