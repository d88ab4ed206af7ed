"""A character-level language model with plain recurrent cells: what gates were invented for.

    conch train rnn
    conch train rnn --data shakespeare

Elman, Finding structure in time, 1990. The gradient shrinks with every character that it goes back: the picture shows
how fast (Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen, 1991). So it learns from a few characters where
`gru` and `lstm` learn from dozens, and needs more bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from training.characters import Cell, CharacterRecipe


@dataclass(frozen=True)
class RNN(CharacterRecipe):
    """Two layers of plain recurrent cells (tanh) over characters."""

    epochs: int = 2
    """Passes over the training split."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    width: int = 128
    """Size of the embedding and of both layers' states."""

    cell: ClassVar[Cell] = nn.RNN
    serves: ClassVar[tuple[str, ...]] = ("tokens -> probabilities", "rnn_stream: token -> probabilities")
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "shakespeare": {"epochs": 8, "learning_rate": 2e-3, "width": 256, "window": 128, "dropout": 0.2}
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"manual": {"bits per character": 2.4}}
