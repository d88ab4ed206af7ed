"""A Boltzmann machine: units joined in both directions that learn a distribution, and complete what is known in part.

    conch train boltzmann
    conch train boltzmann --hidden 7

Ackley, Hinton and Sejnowski, A learning algorithm for Boltzmann machines, 1985; the patterns, bars or stripes on 3x3
pixels, are MacKay's. It is small enough to look at all of its states: both phases of learning are exact, and
so is every answer, the probability of each pixel given those that are known.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_rows
from training.data.batches import batches
from training.loop.trainee import Trainee, one_cycle
from training.recipe import Metric, Predict, Recipe, Served, Tensor

SIDE = 3
PIXELS = SIDE**2
STEPS = 50
"""Looks at all patterns that make an epoch."""
KNOWN = 6
"""Pixels that the score says of a pattern, where they leave no other one."""


@dataclass(frozen=True)
class Patterns:
    """All patterns of whole bars or whole stripes, uint8 [14, SIDE, SIDE] of 0 and 1."""

    name: str = "bars and stripes"

    @cached_property
    def patterns(self) -> NDArray[np.uint8]:
        """Each once."""
        lines = np.array(list(itertools.product((0, 1), repeat=SIDE)), np.uint8)
        bars = np.repeat(lines[:, np.newaxis], SIDE, axis=1)
        return np.unique(np.concatenate([bars, bars.transpose(0, 2, 1)]), axis=0)

    @cached_property
    def sha256(self) -> str:
        """Hash of the patterns."""
        return hashlib.sha256(self.patterns.tobytes()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest."""
        return {"patterns": len(self.patterns), "pixels": PIXELS}

    def questions(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Patterns uint8 [n, SIDE, SIDE] and which of their pixels are known, where those leave no other pattern."""
        flat = self.patterns.reshape(-1, PIXELS)
        asked = [
            (pattern, known)
            for chosen in itertools.combinations(range(PIXELS), KNOWN)
            for pattern in flat
            if (flat[:, chosen] == pattern[list(chosen)]).all(1).sum() == 1
            for known in [np.isin(np.arange(PIXELS), chosen).astype(np.uint8)]
        ]
        patterns, known = (np.stack(one).reshape(-1, SIDE, SIDE) for one in zip(*asked, strict=True))
        return patterns, known


def states(units: int) -> torch.Tensor:
    """All states of so many units, float32 [2^units, units] of 0 and 1; the first unit counts most."""
    numbers = torch.arange(2**units).unsqueeze(1)
    return (numbers >> torch.arange(units - 1, -1, -1) & 1).float()


class BoltzmannMachine(nn.Module):
    """Weights between all units, visible and hidden, and a threshold of each."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        units = PIXELS + hidden
        self.weights = nn.Parameter(0.3 * torch.randn(units, units))
        self.thresholds = nn.Parameter(torch.zeros(units))
        self.register_buffer("states", states(units), persistent=False)

    def log_probabilities(self) -> torch.Tensor:
        """Of each state of the visible units, in nats, float32 [2^PIXELS]; what is hidden is summed over."""
        every = self.states
        assert isinstance(every, torch.Tensor)
        pairs = self.weights.triu(1)
        minus_energy = ((every @ pairs) * every).sum(1) + every @ self.thresholds
        return minus_energy.view(2**PIXELS, -1).logsumexp(1).log_softmax(0)


class Completion(nn.Module):
    """Pixels and which of them are known in; the probability that each is 1, and minus that of what is known, out."""

    visible: torch.Tensor
    log_probabilities: torch.Tensor

    def __init__(self, machine: BoltzmannMachine) -> None:
        super().__init__()
        self.machine = machine
        self.register_buffer("visible", states(PIXELS))
        with torch.no_grad():
            self.register_buffer("log_probabilities", machine.log_probabilities())

    def forward(self, pixels: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, SIDE, SIDE] twice, above 0 is 1, to float32 [batch, SIDE, SIDE] and, in nats, [batch, 1]."""
        on, told = ((tensor.flatten(1) > 0).float() for tensor in (pixels, known))
        wrong = (told * on) @ (1 - self.visible).T + (told * (1 - on)) @ self.visible.T
        possible = self.log_probabilities.masked_fill(wrong > 0, -torch.inf)
        probabilities = possible.softmax(1) @ self.visible
        return probabilities.unflatten(1, (SIDE, SIDE)), -possible.logsumexp(1, keepdim=True)


class BoltzmannTrainee(Trainee):
    """Minus the log-likelihood, whose gradient is the learning rule: pairs met awake minus pairs met asleep."""

    def __init__(self, machine: BoltzmannMachine, learning_rate: float) -> None:
        super().__init__()
        self.machine = machine
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of patterns uint8 [batch, SIDE, SIDE], in nats."""
        places = 2 ** torch.arange(PIXELS - 1, -1, -1, device=batch[0].device)
        loss = -self.machine.log_probabilities()[(batch[0].flatten(1).long() * places).sum(1)].mean()
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.learning_rate))


@dataclass(frozen=True)
class Boltzmann(Recipe):
    """A Boltzmann machine of bars and stripes."""

    data: str = "bars and stripes"
    """bars and stripes: all patterns of 3x3 pixels."""
    epochs: int = 20
    """Of 50 looks at all patterns."""
    batch_size: int = 14
    """Patterns of one optimizer step."""
    learning_rate: float = 0.1
    """Peak of the one-cycle schedule."""
    hidden: int = 5
    """Units beside the pixels."""

    serves: ClassVar[tuple[str, ...]] = ("pixels, known -> probabilities, surprise",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"bars and stripes": {"divergence": 0.1, "completed": 99.0}}

    def __post_init__(self) -> None:
        """Refuse more states than can be looked at."""
        super().__post_init__()
        if not 1 <= self.hidden <= 8:
            raise ConchError(
                f"--hidden {self.hidden}: allowed are 1 to 8; all of its 2^({PIXELS} + hidden) states are kept"
            )

    def dataset(self) -> Patterns:
        """The patterns."""
        if self.data != "bars and stripes":
            raise ConchError(f"--data {self.data}: no such patterns; known are: bars and stripes")
        return Patterns()

    def trainee(self, data: Patterns) -> BoltzmannTrainee:
        """The machine with its loss and optimizer."""
        return BoltzmannTrainee(BoltzmannMachine(self.hidden), self.learning_rate)

    def loaders(self, data: Patterns) -> tuple[DataLoader[Any], None]:
        """Patterns uint8 [batch, SIDE, SIDE], in order, all of them again and again."""
        return batches(np.tile(data.patterns, (STEPS, 1, 1)), size=self.batch_size), None

    def served(self, trained: BoltzmannTrainee, data: Patterns) -> list[Served]:
        """One endpoint: what is known of a pattern to the probabilities of its pixels."""
        patterns, known = (array[::7][:64] for array in data.questions())
        return [
            Served(
                name=self.name(),
                module=Completion(trained.machine).eval(),
                inputs=(
                    Tensor("pixels", "uint8", ("batch", SIDE, SIDE), high=1),
                    Tensor("known", "uint8", ("batch", SIDE, SIDE), high=1),
                ),
                outputs=(
                    Tensor("probabilities", "float32", ("batch", SIDE, SIDE)),
                    Tensor("surprise", "float32", ("batch", 1)),
                ),
                examples={"pixels": patterns * known, "known": known},
            )
        ]

    def score(self, predict: Predict, data: Patterns) -> list[Metric]:
        """Kullback and Leibler's divergence of the machine from the patterns, in nats; what it completes.

        Independent pixels, which are on as often as off, have a divergence of 3.6.
        """
        whole = {"pixels": data.patterns, "known": np.ones_like(data.patterns)}
        surprise = predict(whole)["surprise"].astype(np.float64)
        patterns, known = data.questions()
        found = predict({"pixels": patterns * known, "known": known})["probabilities"]
        right = ((found > 0.5) == (patterns > 0)).all((1, 2))
        return [
            Metric("divergence", surprise.mean() - np.log(len(data.patterns)), "nats", higher_is_better=False),
            Metric("completed", right.mean() * 100, "%"),
        ]

    def samples(self, predict: Predict, data: Patterns, path: Path) -> None:
        """What is known of some patterns, with grey for what is not, and the probabilities of all pixels."""
        patterns, known = (array[::37][:14] for array in data.questions())
        found = predict({"pixels": patterns * known, "known": known})["probabilities"]
        rows = {"known": np.where(known > 0, 255.0 * patterns, 128), "completed": 255 * found}
        draw_rows(
            {name: np.kron(row, np.ones((8, 8))).astype(np.uint8)[..., np.newaxis] for name, row in rows.items()}, path
        )
