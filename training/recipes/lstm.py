"""A character-level language model: embedding, two LSTM layers, next-character head.

    conch train lstm
    conch train lstm --data shakespeare
    conch train lstm --width 256 --epochs 20

Hochreiter and Schmidhuber, Long short-term memory, 1997; the character model follows Graves, Generating sequences
with recurrent neural networks, 2013. What it has in common with `sequences/gru.py` and `sequences/rnn.py` is in
`training/characters.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from training.characters import Cell, CharacterRecipe


@dataclass(frozen=True)
class LSTM(CharacterRecipe):
    """Two-layer LSTM over characters."""

    cell: ClassVar[Cell] = nn.LSTM
    states: ClassVar[Mapping[str, float]] = {
        "c": 64.0,
        "h": 1.0,
    }  # c is not bounded as h is; on the manual it gets to 52
    serves: ClassVar[tuple[str, ...]] = ("tokens -> probabilities", "lstm_stream: token -> probabilities")
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "shakespeare": {
            "epochs": 8, "learning_rate": 4e-3, "width": 256, "window": 128, "dropout": 0.2,
        }
    }  # fmt: skip
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "manual": {"bits per character": 2.2},
        "shakespeare": {"bits per character": 2.308},  # 1.60 nats
    }
