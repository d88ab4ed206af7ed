"""An echo state network: a reservoir of random loops that nobody trains, and a readout by one solve.

    conch train echo_state
    conch train echo_state --units 600

Jaeger and Haas, Harnessing nonlinearity: predicting chaotic systems and saving energy in wireless communication, 2004.
The loops are weak enough that what came long ago dies away: what they hold is an echo of the last values, from which a
linear readout says the next one of a chaotic series (Mackey and Glass, Oscillation and chaos in physiological control
systems, 1977). It is served as a stream: the server keeps the reservoir.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.data.batches import batches
from training.data.series import Series, mackey_glass
from training.least_squares import LeastSquares
from training.loop.trainee import GradientFree
from training.recipe import Chain, Metric, Predict, Recipe, Served, State, Tensor

EXAMPLES = 64
WASHOUT = 100
"""Values of a sequence after which the zeros that a reservoir begins with have died away."""
FREE = 150
"""Values that the samples have the network go on with by itself."""


class EchoState(nn.Module):
    """A step: a value and the reservoir in, the next value and the reservoir out."""

    def __init__(self, units: int, radius: float, leak: float) -> None:
        super().__init__()
        self.leak = leak
        loops = torch.randn(units, units) * (torch.rand(units, units) < min(1, 10 / units))
        loops *= radius / torch.linalg.eigvals(loops).abs().max()
        self.loops = nn.Parameter(loops.T.contiguous(), requires_grad=False)
        self.entry = nn.Parameter(torch.empty(1, units).uniform_(-1, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(units).uniform_(-0.2, 0.2), requires_grad=False)
        self.readout = nn.Linear(units, 1).requires_grad_(False)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def turn(self, value: torch.Tensor, reservoir: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 1] and [batch, units] to the reservoir after."""
        heard = (value @ self.entry + reservoir @ self.loops + self.bias).tanh()
        return (1 - self.leak) * reservoir + self.leak * heard

    def forward(self, value: torch.Tensor, reservoir_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 [batch, 1] and [batch, units] to float32 [batch, 1] and the reservoir after."""
        reservoir = self.turn(value, reservoir_in)
        return self.readout(reservoir), reservoir

    def echoes(self, values: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, steps, 1] to the reservoir after each, float32 [batch, steps, units], from zeros on."""
        reservoir, kept = self.bias.new_zeros(len(values), len(self.bias)), []
        for value in values.unbind(1):
            reservoir = self.turn(value, reservoir)
            kept.append(reservoir)
        return torch.stack(kept, 1)


class EchoTrainee(GradientFree):
    """Sums over all sequences; the readout is solved at the end."""

    def __init__(self, network: EchoState, ridge: float) -> None:
        super().__init__()
        self.network = network
        self.ridge = ridge
        self.sums = LeastSquares()

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Add sequences float32 [batch, steps + 1, 1]: each value but the first is to be said."""
        values = batch[0]
        echoes = self.network.echoes(values[:, :-1])[:, WASHOUT:]
        self.sums.add(echoes.flatten(0, 1), values[:, 1 + WASHOUT :].flatten(0, 1))
        return {"mean echo": echoes.square().mean().sqrt()}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Solve."""
        self.sums.solve(self.ridge, self.network.readout)
        return {"norm of the readout": self.network.readout.weight.norm()}


@dataclass(frozen=True)
class EchoStateRecipe(Recipe):
    """A random reservoir with a solved readout, over a chaotic series."""

    data: str = "mackey-glass"
    """mackey-glass: by a seeded generator."""
    epochs: int = field(default=1, init=False)
    learning_rate: float = field(default=1.0, init=False)
    batch_size: int = 4
    """Sequences that are added to the sums at once."""
    units: int = 400
    """Of the reservoir."""
    radius: float = 0.9
    """Of the spectrum of its loops: below 1, what came long ago dies away."""
    leak: float = 0.5
    """Share of a unit that each value renews."""
    ridge: float = 1e-6
    """Weight of the readout's squares beside the squared error."""

    learns_by: ClassVar[str] = "least squares"
    serves: ClassVar[tuple[str, ...]] = ("value -> next",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"mackey-glass": {"error": 0.01}}

    def dataset(self) -> Series:
        """The series."""
        if self.data != "mackey-glass":
            raise ConchError(f"--data {self.data}: no such series; known are: mackey-glass")
        return mackey_glass()

    def trainee(self, data: Series) -> EchoTrainee:
        """The reservoir with an empty readout."""
        return EchoTrainee(EchoState(self.units, self.radius, self.leak), self.ridge)

    def loaders(self, data: Series) -> tuple[DataLoader[Any], None]:
        """Sequences float32 [batch, steps + 1, 1]."""
        return batches(data.train, size=self.batch_size), None

    def served(self, trained: EchoTrainee, data: Series) -> list[Served]:
        """One stream: a value a request."""
        network = trained.network
        values = data.held_out[:, :-1]

        def whole(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                return {"next": network.readout(network.echoes(torch.from_numpy(steps["value"]))).numpy()}

        with torch.inference_mode():
            echoes = network.echoes(torch.from_numpy(values[:1, :EXAMPLES]))[0].numpy()
        return [
            Served(
                name=self.name(),
                module=network.eval(),
                inputs=(
                    Tensor("value", "float32", ("batch", 1), low=-1, high=1),
                    Tensor("reservoir_in", "float32", ("batch", self.units), low=-1, high=1),
                ),
                outputs=(
                    Tensor("next", "float32", ("batch", 1)),
                    Tensor("reservoir_out", "float32", ("batch", self.units)),
                ),
                examples={"value": values[0, 1 : EXAMPLES + 1].copy(), "reservoir_in": echoes},
                states=(State("reservoir_in", "reservoir_out"),),
                chain=Chain({"value": values}, whole, lambda answers: self.score(lambda _: dict(answers), data)),
            )
        ]

    def score(self, predict: Predict, data: Series) -> list[Metric]:
        """Root of the mean squared error of the next value on held-out sequences, in deviations of the series.

        Beside it, what the last value as the answer would reach.
        """
        values = data.held_out
        found = predict({"value": values[:, :-1]})["next"][:, WASHOUT:]
        truth, last = values[:, 1 + WASHOUT :], values[:, WASHOUT:-1]
        deviation = values.std()
        return [
            Metric("error", rms(found - truth) / deviation, higher_is_better=False),
            Metric("error of the last value", rms(last - truth) / deviation, higher_is_better=False),
        ]

    def baseline(self, data: Series) -> list[Metric]:
        """The mean for everything."""
        return [Metric("error", 1.0, higher_is_better=False)]

    def samples(self, predict: Predict, data: Series, path: Path) -> None:
        """A held-out sequence, and how the network goes on with it by itself, each answer being its next value."""
        steps = data.held_out.shape[1] - 1
        heard = data.held_out[:1, : steps - FREE]
        while heard.shape[1] < steps:
            recent = heard[:, -2 * WASHOUT :]  # what came before has died away
            heard = np.concatenate([heard, predict({"value": recent})["next"][:, -1:]], 1)
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(data.held_out[0, :steps, 0], label="the series")
        axes.plot(range(steps - FREE, steps), heard[0, -FREE:, 0], label="the network by itself")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, ncols=2)
        figure.savefig(path, dpi=110)


def rms(error: np.ndarray) -> float:
    """Root of the mean of the squares."""
    return float(np.sqrt(np.square(error, dtype=np.float64).mean()))
