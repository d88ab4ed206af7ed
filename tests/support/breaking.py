"""Modules that exporters are known to break on: each has to come out right or be refused, and never wrong."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from training.recipe import Served, Tensor


class BothWays(nn.Module):
    """A bidirectional LSTM (pytorch issue 191855 froze its length): float32 [batch, time, 5] to [batch, time, 6]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(5, 3, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


class TwoStates(nn.Module):
    """Two states whose outputs sort the other way round than their inputs: a pairing by name swaps them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.LSTMCell(4, 4)

    def forward(self, x: torch.Tensor, a_hidden: torch.Tensor, b_cell: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden, cell = self.cell(x, (a_hidden, b_cell))
        return hidden, cell


class Drops(nn.Module):
    """Dropout by the functional form: no layer's mode tells that it is active."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.layer(x), 0.5, training=True)


class Branches(nn.Module):
    """A Python branch on a value: tracing keeps the example's side."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if float(x.sum()) > 0 else x - 1


class View(nn.Module):
    """An output that is nothing but a view of the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], 2, 2)


class Same(nn.Module):
    """The input itself as an output, beside another one."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x + 1


class CastsDown(nn.Module):
    """Casts to float32 in its code, and keeps a constant that is no buffer: float64 has to get past both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)
        self.mean = torch.full((4,), 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shifted = (x.float() - self.mean).to(torch.float32) + torch.zeros(4, dtype=torch.float32)
        return self.layer(shifted)


class Coarse(nn.Module):
    """Loses most digits of float32 by the rules of IEEE 754 alone, so by as much on every processor.

    Nothing is summed in an order that a processor chooses: float32 [batch, 4] to its multiples of 2^-7.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 2.0**16) - 2.0**16


def rows(*shape: int) -> np.ndarray:
    """Float32 normal numbers [160, *shape]."""
    return np.random.default_rng(0).standard_normal((160, *shape), np.float32)


def served(module: nn.Module, output: tuple[int | str, ...] = ("batch", 3), largest_batch: int = 32) -> Served:
    """A module of x [batch, 4] in eval mode."""
    return Served(
        name="toy",
        module=module.eval(),
        inputs=(Tensor("x", "float32", ("batch", 4), low=-3, high=3),),
        outputs=(Tensor("y", "float32", output),),
        examples={"x": rows(4)},
        largest_batch=largest_batch,
    )


def both_ways() -> Served:
    """The bidirectional LSTM, proven at lengths 8, 9 and 31."""
    return Served(
        name="toy",
        module=BothWays().eval(),
        inputs=(Tensor("x", "float32", ("batch", "time", 5), low=-1, high=1),),
        outputs=(Tensor("y", "float32", ("batch", "time", 6)),),
        examples={"x": rows(31, 5)},
        largest_batch=4,
        sizes={"time": (9, 31, 8)},
    )


def two_states() -> Served:
    """Inputs a_hidden, b_cell; outputs z_hidden, c_cell."""
    return Served(
        name="toy",
        module=TwoStates().eval(),
        inputs=tuple(Tensor(name, "float32", ("batch", 4), low=-1, high=1) for name in ("x", "a_hidden", "b_cell")),
        outputs=tuple(Tensor(name, "float32", ("batch", 4)) for name in ("z_hidden", "c_cell")),
        examples={"x": rows(4), "a_hidden": rows(4) * 2, "b_cell": rows(4) * 3},
        largest_batch=4,
    )
