"""A liquid state machine: a pool of spiking neurons that nobody trains, and a readout by one solve.

    conch train liquid_state
    conch train liquid_state --neurons 500

Maass, Natschlaeger and Markram, Real-time computing without stable states, 2002. A spike train makes waves among the
neurons, as a stone does in water; from the waves of the moment a linear readout says which of some patterns it is,
though every spike of it comes a little early or late. Membranes and weights are whole numbers, as on neuromorphic chips
(Davies and others, Loihi, 2018): their sums are exact, so that every machine spikes at the same moments. It is served
as a stream: the server keeps the neurons.
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
from training.data.spikes import SpikeTrains, spike_trains
from training.least_squares import LeastSquares, shares
from training.loop.trainee import GradientFree
from training.recipe import Chain, Metric, Predict, Recipe, Served, State, Tensor

EXAMPLES = 40
THRESHOLD = 64
"""Of a membrane, from which on a neuron spikes; it then begins at 0 again."""
KEPT = 7 / 8
"""Of a membrane from moment to moment, rounded down; of a whole number below 2^21 float32 holds it exactly."""
FADING = 0.95
"""Of a neuron's trace of spikes, which the readout looks at."""
LATE = 4
"""One in so many moments, the last of a spike train, is what the readout learns from."""
STATES = ("fired", "membrane", "trace")


class Liquid(nn.Module):
    """A moment: spikes of the channels and the neurons in, their spikes and the neurons after out."""

    entry: torch.Tensor
    synapses: torch.Tensor

    def __init__(self, channels: int, neurons: int) -> None:
        super().__init__()
        inhibits = torch.rand(neurons) < 0.2
        strength = torch.where(inhibits, -torch.randint(2, 7, (neurons,)), torch.randint(1, 5, (neurons,))).float()
        joined = (torch.rand(neurons, neurons) < 12 / neurons) & ~torch.eye(neurons, dtype=torch.bool)
        self.synapses = nn.Parameter(joined * strength.unsqueeze(1), requires_grad=False)
        heard = torch.rand(channels, neurons) < 0.3
        self.entry = nn.Parameter(heard * torch.randint(24, 64, (channels, neurons)).float(), requires_grad=False)

    def forward(
        self, spikes: torch.Tensor, fired: torch.Tensor, membrane: torch.Tensor, trace: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Float32 [batch, channels] of 0 and 1 and [batch, neurons] three times to the three after."""
        membrane = (membrane * KEPT).floor() + spikes @ self.entry + fired @ self.synapses
        spiking = membrane >= THRESHOLD
        return spiking.float(), membrane.masked_fill(spiking, 0), trace * FADING + spiking

    def waves(self, spikes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 [batch, moments, channels] to the three after each, float32 [batch, moments, neurons]."""
        states = (self.entry.new_zeros(len(spikes), len(self.synapses)),) * 3
        kept = []
        for moment in spikes.float().unbind(1):
            states = self(moment, *states)
            kept.append(states)
        return tuple(torch.stack(one, 1) for one in zip(*kept, strict=True))


class LiquidStream(nn.Module):
    """Spikes of a moment and the neurons in, the probability of each pattern and the neurons after out."""

    def __init__(self, liquid: Liquid, readout: nn.Linear) -> None:
        super().__init__()
        self.liquid, self.readout = liquid, readout

    def forward(
        self, spikes: torch.Tensor, fired_in: torch.Tensor, membrane_in: torch.Tensor, trace_in: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """uint8 [batch, channels], above 0 a spike, and the states to float32 [batch, patterns] and the states."""
        fired, membrane, trace = self.liquid((spikes > 0).float(), fired_in, membrane_in, trace_in)
        return shares(self.readout(trace)), fired, membrane, trace


class LiquidTrainee(GradientFree):
    """Sums over the end of all spike trains; the readout is solved at the end."""

    def __init__(self, liquid: Liquid, patterns: int, ridge: float) -> None:
        super().__init__()
        self.liquid = liquid
        self.readout = nn.Linear(len(liquid.synapses), patterns).requires_grad_(False)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)
        self.ridge = ridge
        self.sums = LeastSquares()

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Add spike trains uint8 [batch, moments, channels] with int64 labels [batch]."""
        spikes, labels = batch
        fired, _, trace = self.liquid.waves(spikes)
        late = trace[:, -spikes.shape[1] // LATE :]
        targets = nn.functional.one_hot(labels, self.readout.out_features).unsqueeze(1).expand(-1, late.shape[1], -1)
        self.sums.add(late.flatten(0, 1), targets.flatten(0, 1))
        return {"spikes a neuron and moment": fired.mean()}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Solve."""
        self.sums.solve(self.ridge, self.readout)
        return {"norm of the readout": self.readout.weight.norm()}


@dataclass(frozen=True)
class LiquidState(Recipe):
    """A pool of spiking neurons with a solved readout, over spike trains."""

    data: str = "spike-trains"
    """spike-trains: jittered patterns, by a seeded generator."""
    epochs: int = field(default=1, init=False)
    learning_rate: float = field(default=1.0, init=False)
    batch_size: int = 64
    """Spike trains that are added to the sums at once."""
    neurons: int = 300
    """Of the liquid."""
    ridge: float = 10.0
    """Weight of the readout's squares beside the squared error."""

    learns_by: ClassVar[str] = "least squares"
    serves: ClassVar[tuple[str, ...]] = ("spikes -> probabilities",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"spike-trains": {"accuracy": 95.0}}

    def dataset(self) -> SpikeTrains:
        """The spike trains."""
        if self.data != "spike-trains":
            raise ConchError(f"--data {self.data}: no such spike trains; known are: spike-trains")
        return spike_trains()

    def trainee(self, data: SpikeTrains) -> LiquidTrainee:
        """The liquid with an empty readout."""
        return LiquidTrainee(Liquid(data.train.shape[2], self.neurons), len(data.labels), self.ridge)

    def loaders(self, data: SpikeTrains) -> tuple[DataLoader[Any], None]:
        """uint8 [batch, moments, channels] with int64 labels [batch]."""
        return batches(data.train, data.train_labels, size=self.batch_size), None

    def served(self, trained: LiquidTrainee, data: SpikeTrains) -> list[Served]:
        """One stream: a moment a request."""
        stream = LiquidStream(trained.liquid, trained.readout)
        channels, moments = data.train.shape[2], data.train.shape[1]

        def whole(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                _, _, trace = trained.liquid.waves(torch.from_numpy(steps["spikes"]))
                return {"probabilities": shares(trained.readout(trace)).numpy()}

        with torch.inference_mode():
            waves = trained.liquid.waves(torch.from_numpy(data.held_out[:EXAMPLES]))
        rows, at = np.arange(EXAMPLES), np.arange(EXAMPLES) % (moments - 1)
        states = {f"{name}_in": wave.numpy()[rows, at] for name, wave in zip(STATES, waves, strict=True)}
        highest = {"fired": 1, "membrane": THRESHOLD - 1, "trace": 1 / (1 - FADING)}
        lowest = {"fired": 0, "membrane": -THRESHOLD, "trace": 0}
        return [
            Served(
                name=self.name(),
                module=stream.eval(),
                inputs=(
                    Tensor("spikes", "uint8", ("batch", channels), high=1),
                    *(
                        Tensor(f"{name}_in", "float32", ("batch", self.neurons), low=lowest[name], high=highest[name])
                        for name in STATES
                    ),
                ),
                outputs=(
                    Tensor("probabilities", "float32", ("batch", len(data.labels))),
                    *(Tensor(f"{name}_out", "float32", ("batch", self.neurons)) for name in STATES),
                ),
                examples={"spikes": data.held_out[rows, at + 1], **states},
                labels={"probabilities": data.labels},
                states=tuple(State(f"{name}_in", f"{name}_out") for name in STATES),
                chain=Chain(
                    {"spikes": data.held_out}, whole, lambda answers: self.score(lambda _: dict(answers), data)
                ),
            )
        ]

    def score(self, predict: Predict, data: SpikeTrains) -> list[Metric]:
        """Share of held-out spike trains whose likeliest pattern at their end is the true one, and at their middle."""
        found = predict({"spikes": data.held_out})["probabilities"].argmax(2) == data.held_out_labels[:, np.newaxis]
        return [
            Metric("accuracy", found[:, -1].mean() * 100, "%"),
            Metric("accuracy at half time", found[:, found.shape[1] // 2].mean() * 100, "%"),
        ]

    def baseline(self, data: SpikeTrains) -> list[Metric]:
        """The commonest pattern for everything."""
        return [Metric("accuracy", np.bincount(data.held_out_labels).max() / len(data.held_out_labels) * 100, "%")]

    def samples(self, predict: Predict, data: SpikeTrains, path: Path) -> None:
        """Some spike trains, and the probability of each pattern while they go on."""
        found = predict({"spikes": data.held_out[:4]})["probabilities"]
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        for index in range(4):
            axes = figure.add_subplot(2, 4, index + 1)
            axes.imshow(data.held_out[index].T, cmap="gray_r", aspect="auto", interpolation="nearest")
            axes.set(title=f"pattern {data.labels[data.held_out_labels[index]]}", xticks=[], yticks=[])
            axes = figure.add_subplot(2, 4, index + 5)
            axes.plot(found[index], label=data.labels)
            axes.set(ylim=(0, 1), xlabel="moment")
        figure.legend(axes.lines, data.labels, loc="outside right upper")
        figure.savefig(path, dpi=110)
