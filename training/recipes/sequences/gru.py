"""A character-level language model with gated recurrent units: two gates a cell where the LSTM has three.

    conch train gru
    conch train gru --data shakespeare
    conch train gru --width 256 --epochs 20

Cho and others, Learning phrase representations using RNN encoder-decoder for statistical machine translation, 2014.
The gates carry the gradient back in time: the picture shows how much of it is left. Only the cell differs from `rnn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from training.characters import Cell, CharacterRecipe


@dataclass(frozen=True)
class GRU(CharacterRecipe):
    """Two-layer GRU over characters."""

    epochs: int = 2
    """Passes over the training split."""
    learning_rate: float = 6e-3
    """Peak of the one-cycle schedule."""
    width: int = 128
    """Size of the embedding and of both layers' states."""

    cell: ClassVar[Cell] = nn.GRU
    serves: ClassVar[tuple[str, ...]] = ("tokens -> probabilities", "gru_stream: token -> probabilities")
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "shakespeare": {"epochs": 8, "learning_rate": 4e-3, "width": 256, "window": 128, "dropout": 0.2}
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"manual": {"bits per character": 2.2}}
