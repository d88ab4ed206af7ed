"""One neuron: a weighted sum and an activation, for a quantity or for one of two classes.

    conch train perceptron
    conch train perceptron --activation step
    conch train perceptron --data diabetes

Rosenblatt, The perceptron: a probabilistic model for information storage and organization in the brain, 1958. With a
step at its output it learns by his rule, whose loss is the criterion of Duda and Hart, 1973; with a sigmoid it is
logistic regression, with nothing linear regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.data.batches import batches
from training.data.features import Features, load_features
from training.loop.trainee import Trainee
from training.recipe import Metric, Predict, Recipe, Served, Tensor

EXAMPLES = 64


class Neuron(nn.Module):
    """The weighted sum [batch] of features [batch, features], which are standardised first."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, data: Features) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(data.train.mean(0)))
        self.register_buffer("deviation", torch.from_numpy(data.train.std(0)))
        self.sum = nn.Linear(len(data.names), 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, features] to float32 [batch]."""
        return self.sum((features - self.mean) / self.deviation).squeeze(1)


class NeuronEndpoint(nn.Module):
    """Features as they were measured in, what the activation makes of their sum out."""

    def __init__(self, neuron: nn.Module, activation: str, mean: float, deviation: float) -> None:
        super().__init__()
        self.neuron = neuron
        self.activation = activation
        self.mean, self.deviation = mean, deviation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, features] to float32 [batch, 1]: a quantity, a probability, or 0 and 1."""
        total = self.neuron(features).unsqueeze(1)
        if self.activation == "sigmoid":
            return total.sigmoid()
        if self.activation == "step":
            return (total > 0).float()
        return total * self.deviation + self.mean


class NeuronTrainee(Trainee):
    """Squared error of a quantity, cross-entropy of a probability, the perceptron criterion of a step."""

    def __init__(self, neuron: Neuron, recipe: Perceptron, mean: float, deviation: float) -> None:
        super().__init__()
        self.neuron = neuron
        self.recipe = recipe
        self.mean, self.deviation = mean, deviation

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of features float32 [batch, features] and targets float32 [batch]."""
        features, targets = batch
        total = self.neuron(features)
        if self.recipe.activation == "sigmoid":
            loss = functional.binary_cross_entropy_with_logits(total, targets)
        elif self.recipe.activation == "step":
            loss = functional.relu(-total * (2 * targets - 1)).mean()  # only what is on the wrong side counts
        else:
            loss = functional.mse_loss(total, (targets - self.mean) / self.deviation)
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """The rate falls to 0, a step a batch."""
        optimizer = torch.optim.SGD(self.parameters(), self.recipe.learning_rate, weight_decay=1e-3)
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


@dataclass(frozen=True)
class Perceptron(Recipe):
    """One neuron: linear regression, logistic regression or Rosenblatt's perceptron."""

    data: str = "breast-cancer"
    """breast-cancer (two classes) or diabetes (a quantity), both embedded."""
    epochs: int = 60
    """Passes over the training split."""
    learning_rate: float = 0.1
    """At the beginning; it falls to 0."""
    activation: Literal["linear", "sigmoid", "step"] = "sigmoid"
    """Of the output: linear gives a quantity, the others a class."""

    serves: ClassVar[tuple[str, ...]] = ("features -> value",)
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"diabetes": {"activation": "linear"}}
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "breast-cancer": {"accuracy": 96.0},
        "diabetes": {"explained variance": 0.4},
    }

    def dataset(self) -> Features:
        """The table; an activation that does not suit its target is refused."""
        data = load_features(self.data)
        if bool(data.labels) != (self.activation != "linear"):
            kind = "two classes: sigmoid or step" if data.labels else "a quantity: linear"
            raise ConchError(f"--activation {self.activation}: the target of {self.data} is {kind}")
        return data

    def trainee(self, data: Features) -> NeuronTrainee:
        """The neuron with its loss and optimizer."""
        return NeuronTrainee(Neuron(data), self, float(data.train_targets.mean()), float(data.train_targets.std()))

    def loaders(self, data: Features) -> tuple[DataLoader[Any], None]:
        """Features float32 [batch, features] with targets float32 [batch]."""
        return batches(data.train, data.train_targets, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: NeuronTrainee, data: Features) -> list[Served]:
        """One endpoint: features to a value."""
        module = NeuronEndpoint(trained.neuron, self.activation, trained.mean, trained.deviation)
        return [
            Served(
                name=self.name(),
                module=module.eval(),
                inputs=(
                    Tensor(
                        "features", "float32", ("batch", len(data.names)),
                        low=float(data.train.min()), high=float(data.train.max()),
                    ),
                ),
                outputs=(Tensor("value", "float32", ("batch", 1)),),
                examples={"features": data.held_out[:EXAMPLES]},
            )
        ]  # fmt: skip

    def score(self, predict: Predict, data: Features) -> list[Metric]:
        """Share of held-out rows on the right side of 0.5, or the share of a quantity's variance that is explained."""
        value = predict({"features": data.held_out})["value"][:, 0].astype(np.float64)
        if data.labels:
            return [Metric("accuracy", np.mean((value > 0.5) == data.held_out_targets) * 100, "%")]
        unexplained = np.square(value - data.held_out_targets).mean() / data.held_out_targets.var()
        return [Metric("explained variance", 1 - unexplained)]

    def baseline(self, data: Features) -> list[Metric]:
        """The commoner class, or the mean, for everything."""
        if not data.labels:
            return [Metric("explained variance", 0.0)]
        share = data.held_out_targets.mean()
        return [Metric("accuracy", max(share, 1 - share) * 100, "%")]
