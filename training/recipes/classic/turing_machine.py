"""A neural Turing machine: a network that writes to a memory and reads from it, and learns to copy what it was given.

    conch train turing_machine
    conch train turing_machine --longest 6 --slots 24

Graves, Wayne and Danihelka, Neural Turing machines, 2014. A head finds its place in the memory by content and moves on
from it by small shifts, so that what it has learnt of short sequences holds for long ones. It is served as a stream:
the memory is the state that the server keeps. Each request has a command: 0 to take a vector of bits, 1 to go back to
the first, 2 to give the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.data.batches import batches
from training.data.bits import BITS, Sequences
from training.loop.trainee import Trainee, one_cycle
from training.recipe import Chain, Metric, Predict, Recipe, Served, State, Tensor

TAKE, REWIND, GIVE = 0, 1, 2
STATES = ("memory", "read", "read_place", "write_place")


class Head(nn.Module):
    """One place of a head in the memory: by content, kept, shifted and sharpened (section 3.3 of the paper)."""

    def __init__(self, hidden: int, cell: int) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, cell)
        self.how = nn.Linear(hidden, 6)  # strength, gate, three shifts, sharpness

    def forward(self, hidden: torch.Tensor, memory: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, hidden], [batch, slots, cell] and the place before [batch, slots] to the place now."""
        key, how = self.key(hidden).tanh(), self.how(hidden)
        near = functional.cosine_similarity(memory, key.unsqueeze(1), dim=2, eps=1e-6)
        found = (functional.softplus(how[:, :1]) * near).softmax(1)
        gate = how[:, 1:2].sigmoid()
        place = gate * found + (1 - gate) * place
        back, stay, on = how[:, 2:5].softmax(1).split(1, dim=1)
        shifted = torch.cat([place[:, 1:], place[:, :1]], 1) * back + place * stay
        shifted = shifted + torch.cat([place[:, -1:], place[:, :-1]], 1) * on
        sharp = (shifted + 1e-12) ** (1 + functional.softplus(how[:, 5:]))
        return sharp / sharp.sum(1, keepdim=True)


class TuringMachine(nn.Module):
    """One step: bits and a command in, logits of bits out, the memory and the heads' places handed on.

    The states are kept as differences to what they begin with, for a sequence begins with zeros.
    """

    empty: torch.Tensor
    begin: torch.Tensor

    def __init__(self, slots: int, cell: int, hidden: int) -> None:
        super().__init__()
        self.controller = nn.Sequential(nn.Linear(BITS + 3 + cell, hidden), nn.Tanh())
        self.reader, self.writer = Head(hidden, cell), Head(hidden, cell)
        self.erase, self.add = nn.Linear(hidden, cell), nn.Linear(hidden, cell)
        self.out = nn.Linear(hidden + cell, BITS)
        self.register_buffer("empty", torch.full((1, slots, cell), 1e-2))
        self.register_buffer("begin", functional.one_hot(torch.tensor([0]), slots).float())

    def forward(
        self, bits: torch.Tensor, command: torch.Tensor, memory: torch.Tensor, read: torch.Tensor,
        read_place: torch.Tensor, write_place: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """Float32 [batch, BITS], one-hot [batch, 3] and the four states to logits [batch, BITS] and the states."""
        memory, read_place, write_place = memory + self.empty, read_place + self.begin, write_place + self.begin
        hidden = self.controller(torch.cat([bits, command, read], 1))
        write_place = self.writer(hidden, memory, write_place)
        erased, added = self.erase(hidden).sigmoid(), self.add(hidden).tanh()
        written = write_place.unsqueeze(2)
        memory = memory * (1 - written * erased.unsqueeze(1)) + written * added.unsqueeze(1)
        read_place = self.reader(hidden, memory, read_place)
        read = (read_place.unsqueeze(2) * memory).sum(1)
        logits = self.out(torch.cat([hidden, read], 1))
        return logits, memory - self.empty, read, read_place - self.begin, write_place - self.begin

    def walk(self, bits: torch.Tensor, command: torch.Tensor) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        """uint8 [batch, steps, BITS], int64 [batch, steps, 1] to logits [batch, steps, BITS] and states before each."""
        _, slots, cell = self.empty.shape
        states = [self.empty.new_zeros(len(bits), *shape) for shape in ((slots, cell), (cell,), (slots,), (slots,))]
        logits, before = [], []
        for vector, one in zip(
            bits.float().unbind(1), functional.one_hot(command[..., 0], 3).float().unbind(1), strict=True
        ):
            before.append(states)
            found, *states = self(vector, one, *states)
            logits.append(found)
        return torch.stack(logits, 1), before


class TuringStream(nn.Module):
    """One request of a sequence: bits and a command in, the probability that each bit is 1 out, and the states."""

    def __init__(self, machine: TuringMachine) -> None:
        super().__init__()
        self.machine = machine

    def forward(
        self, bits: torch.Tensor, command: torch.Tensor, memory_in: torch.Tensor, read_in: torch.Tensor,
        read_place_in: torch.Tensor, write_place_in: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """uint8 [batch, BITS], int64 [batch, 1] and four states to float32 [batch, BITS] and the states."""
        chosen = (command == torch.arange(3)).float()
        given = bits.clamp(max=1).float() * chosen[:, :1]
        logits, *states = self.machine(given, chosen, memory_in, read_in, read_place_in, write_place_in)
        return logits.sigmoid(), *states


def conversation(bits: torch.Tensor) -> dict[str, torch.Tensor]:
    """The requests that have uint8 [n, length, BITS] copied: bits [n, steps, BITS] and commands [n, steps, 1]."""
    n, length, _ = bits.shape
    commands = torch.tensor([TAKE] * length + [REWIND] + [GIVE] * length, device=bits.device)
    silent = bits.new_zeros(n, length + 1, BITS)
    return {"bits": torch.cat([bits, silent], 1), "command": commands.view(1, -1, 1).repeat(n, 1, 1)}


def arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The same for NumPy."""
    return {name: tensor.numpy() for name, tensor in tensors.items()}


class TuringTrainee(Trainee):
    """Cross-entropy of the bits that are given back; each batch is of a length of its own."""

    def __init__(self, machine: TuringMachine, recipe: TuringMachineRecipe) -> None:
        super().__init__()
        self.machine = machine
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of the beginnings of bits uint8 [batch, longest, BITS]."""
        length = int(torch.randint(1, self.recipe.longest + 1, ()))
        bits = batch[0][:, :length]
        logits = self.machine.walk(**conversation(bits))[0][:, -length:]
        loss = functional.binary_cross_entropy_with_logits(logits, bits.float())
        self.log_mean({"train loss": loss, "wrong bits": ((logits > 0) != (bits > 0)).float().mean()})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.recipe.learning_rate))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients through many steps explode (Pascanu et al., 2013)."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)


def examples_on_the_way(machine: TuringMachine, asked: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs of `TuringStream`: row i is request number i of sequence i, of which there are more than requests."""
    steps = asked["bits"].shape[1]
    with torch.inference_mode():
        _, before = machine.walk(*(torch.from_numpy(asked[name][:steps]) for name in ("bits", "command")))
    rows = np.arange(steps)
    return {name: array[rows, rows] for name, array in asked.items()} | {
        f"{name}_in": np.stack([before[row][number][row].numpy() for row in rows]) for number, name in enumerate(STATES)
    }


@dataclass(frozen=True)
class TuringMachineRecipe(Recipe):
    """A neural Turing machine that copies."""

    data: str = "random bits"
    """random bits: by a seeded generator."""
    epochs: int = 15
    """Passes over the training sequences."""
    batch_size: int = 16
    """Sequences of one optimizer step."""
    longest: int = 8
    """Vectors of the longest sequence that is learnt; the score copies sequences twice as long."""
    slots: int = 24
    """Places of the memory."""
    cell: int = 12
    """Numbers of a place."""
    hidden: int = 64
    """Units of the controller."""

    serves: ClassVar[tuple[str, ...]] = ("bits, command -> copy",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"random bits": {"copied": 95.0}}

    def __post_init__(self) -> None:
        """Refuse a memory that is too small for what is asked."""
        super().__post_init__()
        if self.slots <= 2 * self.longest:
            raise ConchError(
                f"--slots {self.slots}: sequences of twice --longest {self.longest} are copied; "
                f"it must be more than {2 * self.longest}"
            )

    def dataset(self) -> Sequences:
        """The sequences."""
        if self.data != "random bits":
            raise ConchError(f"--data {self.data}: no such sequences; known are: random bits")
        return Sequences(self.longest, 64 * self.batch_size)

    def trainee(self, data: Sequences) -> TuringTrainee:
        """The machine with its loss and optimizer."""
        return TuringTrainee(TuringMachine(self.slots, self.cell, self.hidden), self)

    def loaders(self, data: Sequences) -> tuple[DataLoader[Any], None]:
        """uint8 [batch, longest, BITS]."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: TuringTrainee, data: Sequences) -> list[Served]:
        """One stream: a vector a request."""
        shapes = dict(zip(STATES, (("batch", self.slots, self.cell), ("batch", self.cell), ("batch", self.slots),
                                   ("batch", self.slots)), strict=True))  # fmt: skip
        asked = arrays(conversation(torch.from_numpy(data.held_out)))

        def whole(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                logits, _ = trained.machine.walk(*(torch.from_numpy(steps[name]) for name in ("bits", "command")))
            return {"copy": logits.sigmoid().numpy()}

        return [
            Served(
                name=self.name(),
                module=TuringStream(trained.machine).eval(),
                inputs=(
                    Tensor("bits", "uint8", ("batch", BITS), high=1),
                    Tensor("command", "int64", ("batch", 1), high=GIVE),
                    *(Tensor(f"{name}_in", "float32", shape, low=-1, high=1) for name, shape in shapes.items()),
                ),
                outputs=(
                    Tensor("copy", "float32", ("batch", BITS)),
                    *(Tensor(f"{name}_out", "float32", shape) for name, shape in shapes.items()),
                ),
                examples=examples_on_the_way(trained.machine, asked),
                states=tuple(State(f"{name}_in", f"{name}_out") for name in STATES),
                chain=Chain(asked, whole, lambda answers: self.score(lambda _: dict(answers), data)),
            )
        ]

    def score(self, predict: Predict, data: Sequences) -> list[Metric]:
        """Share of the held-out sequences, twice as long as the longest that was learnt, that come back bit by bit."""
        asked = arrays(conversation(torch.from_numpy(data.held_out)))
        copy = predict(asked)["copy"][:, -data.held_out.shape[1] :]
        wrong = (copy > 0.5) != (data.held_out > 0)
        return [Metric("copied", (~wrong.any((1, 2))).mean() * 100, "%"),
                Metric("wrong bits", wrong.mean() * 100, "%", higher_is_better=False)]  # fmt: skip

    def samples(self, predict: Predict, data: Sequences, path: Path) -> None:
        """The longest sequence, and the probabilities that came back."""
        asked = arrays(conversation(torch.from_numpy(data.held_out[:1])))
        length = data.held_out.shape[1]
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        for index, (name, picture) in enumerate(
            {"given": data.held_out[0], "copied": predict(asked)["copy"][0, -length:]}.items()
        ):
            axes = figure.add_subplot(2, 1, index + 1)
            axes.imshow(picture.T, cmap="gray", vmin=0, vmax=1)
            axes.axvline(self.longest - 0.5, color="tab:red")  # no sequence of the training went beyond
            axes.set(title=name, xticks=range(0, length, 2), yticks=[])
        figure.savefig(path, dpi=110)
