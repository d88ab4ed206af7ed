"""A character-level language model: embedding, two LSTM layers, next-character head.

    python -m training lstm
    python -m training lstm --width 256 --epochs 20

Hochreiter and Schmidhuber, Long short-term memory, 1997; the character model follows Graves, Generating sequences
with recurrent neural networks, 2013.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import LightningModule
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from training.batches import batches
from training.errors import ConchError
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor
from training.text import Text, load_text

EXAMPLES = 64
EXAMPLE_LENGTH = 64


class CharacterLSTM(nn.Module):
    """Logits of the next character after every prefix."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to float32 [batch, time, vocabulary]."""
        return self.head(self.lstm(self.embedding(tokens))[0])


class LSTMEndpoint(nn.Module):
    """Tokens in, probabilities of the next character after every prefix out."""

    def __init__(self, network: CharacterLSTM) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to float32 [batch, time, vocabulary]; every row of it sums to 1."""
        # ONNX's Gather takes negative indices from the end, where PyTorch refuses them: make both refuse.
        known = tokens.where(tokens >= 0, self.network.embedding.num_embeddings)
        return functional.softmax(self.network(known), dim=2)


class LSTMTrainee(LightningModule):
    """Cross-entropy of the next character, gradients clipped by norm."""

    def __init__(self, network: CharacterLSTM, recipe: LSTM) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def _loss(self, windows: torch.Tensor) -> torch.Tensor:
        logits = self.network(windows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of windows int64 [batch, time + 1]."""
        loss = self._loss(batch[0])
        self.log("train loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """Loss on held-out windows."""
        loss = self._loss(batch[0])
        self.log("held-out loss", loss, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        optimizer = torch.optim.AdamW(self.parameters(), self.recipe.learning_rate)
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.learning_rate, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Exploding gradients of long windows are cut (Pascanu et al., 2013)."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """All `length` + 1 long pieces [n, length + 1] at steps of `length`: each character but the first is predicted."""
    starts = np.arange(0, len(tokens) - length, length)
    return tokens[starts[:, np.newaxis] + np.arange(length + 1)]


@dataclass(frozen=True)
class LSTM(Recipe):
    """Two-layer LSTM over characters."""

    data: str = "manual"
    """manual (embedded), shakespeare, or the path of a UTF-8 text file."""
    data_dir: str = ""
    """Where public data sets are looked for and kept (default: CONCH_DATA, else ~/.cache/conch)."""
    epochs: int = 3
    """Passes over the training split."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    width: int = 192
    """Size of the embedding and of both layers' states."""
    window: int = 64
    """Characters of one training example."""

    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"manual": {"bits per character": 2.2}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"bits per character": AllowedLoss(0.01, relative=True)}

    def dataset(self) -> Text:
        """Characters as tokens."""
        return load_text(self.data, self.data_dir)

    def trainee(self, data: Text) -> LSTMTrainee:
        """The network with its loss and optimizer."""
        return LSTMTrainee(CharacterLSTM(len(data.vocabulary), self.width, layers=2), self)

    def loaders(self, data: Text) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Windows int64 [batch, window + 1]."""
        if self.window >= len(data.held_out):
            raise ConchError(f"--window {self.window}: the held-out text has only {len(data.held_out)} characters")
        return (
            batches(windows(data.train, self.window), size=self.batch_size, shuffle_seed=self.seed),
            batches(windows(data.held_out, self.window)[::8], size=256),
        )

    def served(self, trained: LSTMTrainee, data: Text) -> list[Served]:
        """One endpoint: a text to the probabilities after each of its prefixes."""
        vocabulary = len(data.vocabulary)
        examples = windows(data.held_out, EXAMPLE_LENGTH)[:EXAMPLES, :-1]
        return [
            Served(
                name=self.name(),
                module=LSTMEndpoint(trained.network).eval(),
                inputs=(Tensor("tokens", "int64", ("batch", "time"), high=vocabulary - 1),),
                outputs=(Tensor("probabilities", "float32", ("batch", "time", vocabulary)),),
                examples={"tokens": np.ascontiguousarray(examples)},
                # A label file has one label a line, so line breaks and their like are written as JSON escapes.
                labels={"probabilities": tuple(json.dumps(character)[1:-1] for character in data.vocabulary)},
                sizes={"time": (1, 2, 17, EXAMPLE_LENGTH)},
            )
        ]

    def score(self, predict: Predict, data: Text) -> list[Metric]:
        """Bits to code a held-out character, given those before it in its window of 256."""
        pieces = windows(data.held_out, 256)
        probabilities = predict({"tokens": np.ascontiguousarray(pieces[:, :-1])})["probabilities"]
        chosen = np.take_along_axis(probabilities, pieces[:, 1:, np.newaxis], axis=2)
        bits = -np.log2(np.maximum(chosen, np.finfo(np.float32).tiny), dtype=np.float64).mean()
        return [Metric("bits per character", float(bits), higher_is_better=False)]
