"""A character-level language model: embedding, two LSTM layers, next-character head.

    conch train lstm
    conch train lstm --data shakespeare
    conch train lstm --width 256 --epochs 20

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
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.data.batches import batches
from training.data.text import Text, load_text
from training.loop.trainee import Trainee, one_cycle
from training.predict import torch_predict
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor
from training.states import Chain, State

EXAMPLES = 64
EXAMPLE_LENGTH = 64
CHAINS = 16  # sequences of EXAMPLE_LENGTH characters that the stream is proven on
LARGEST_CELL = 64.0  # c is not bounded as h is; on the manual it reaches 52


class CharacterLSTM(nn.Module):
    """Logits of the next character after every prefix."""

    def __init__(self, vocabulary: int, width: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to float32 [batch, time, vocabulary]."""
        # Dropout on what goes up, never on what goes on in time (Zaremba et al., 2014).
        return self.head(self.dropout(self.lstm(self.dropout(self.embedding(tokens)))[0]))


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


class LSTMStream(nn.Module):
    """One token and the states after those before it in, probabilities of the next character and new states out.

    ONNX and PyTorch have states as [layers, batch, width], Triton wants the batch first.
    """

    def __init__(self, network: CharacterLSTM) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, token: torch.Tensor, c_in: torch.Tensor, h_in: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """int64 [batch, 1], float32 [batch, layers, width] twice to float32 [batch, vocabulary] and both states."""
        known = token.where(token >= 0, self.network.embedding.num_embeddings)  # as in LSTMEndpoint
        states = (h_in.transpose(0, 1).contiguous(), c_in.transpose(0, 1).contiguous())
        found, (h, c) = self.network.lstm(self.network.embedding(known), states)
        return functional.softmax(self.network.head(found[:, 0]), dim=1), c.transpose(0, 1), h.transpose(0, 1)


class LSTMTrainee(Trainee):
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
        self.log_mean({"train loss": loss})
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """Loss on held-out windows."""
        loss = self._loss(batch[0])
        self.log("held-out loss", loss, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.AdamW(self.parameters(), self.recipe.learning_rate))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Exploding gradients of long windows are cut (Pascanu et al., 2013)."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """All `length` + 1 long pieces [n, length + 1] at steps of `length`: each character but the first is predicted."""
    starts = np.arange(0, len(tokens) - length, length)
    return tokens[starts[:, np.newaxis] + np.arange(length + 1)]


def examples_on_the_way(network: CharacterLSTM, pieces: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of `LSTMStream` from windows int64 [n, time + 1]: row i comes after i + 1 characters of window i."""
    lengths = 1 + np.arange(len(pieces)) % (pieces.shape[1] - 1)
    with torch.inference_mode():
        embedded = network.embedding(torch.from_numpy(pieces[:, :-1]))
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
        )
        h, c = network.lstm(packed)[1]
    token = np.take_along_axis(pieces, lengths[:, np.newaxis], axis=1)
    return {"token": token} | {
        name: np.ascontiguousarray(state.transpose(0, 1).numpy()) for name, state in (("c_in", c), ("h_in", h))
    }


def bits_per_character(probabilities: np.ndarray, following: np.ndarray) -> Metric:
    """Bits to code int64 [n, time] with float32 [n, time, vocabulary]."""
    chosen = np.take_along_axis(probabilities, following[:, :, np.newaxis], axis=2)
    bits = -np.log2(np.maximum(chosen, np.finfo(np.float32).tiny), dtype=np.float64).mean()
    return Metric("bits per character", float(bits), higher_is_better=False)


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
    dropout: float = 0.0
    """Share of each layer's inputs and outputs that a training step leaves out."""

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
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"bits per character": AllowedLoss(0.01, relative=True)}

    def dataset(self) -> Text:
        """Characters as tokens."""
        return load_text(self.data, self.data_dir)

    def trainee(self, data: Text) -> LSTMTrainee:
        """The network with its loss and optimizer."""
        return LSTMTrainee(CharacterLSTM(len(data.vocabulary), self.width, layers=2, dropout=self.dropout), self)

    def loaders(self, data: Text) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Windows int64 [batch, window + 1]."""
        if self.window >= len(data.held_out):
            raise ConchError(f"--window {self.window}: the held-out text has only {len(data.held_out)} characters")
        return (
            batches(windows(data.train, self.window), size=self.batch_size, shuffle_seed=self.seed),
            batches(windows(data.held_out, self.window)[::8], size=256),
        )

    def served(self, trained: LSTMTrainee, data: Text) -> list[Served]:
        """A text to the probabilities after each of its prefixes, and the same a character at a time."""
        vocabulary = len(data.vocabulary)
        pieces = windows(data.held_out, EXAMPLE_LENGTH)[:EXAMPLES]
        # A label file has one label a line, so line breaks and their like are written as JSON escapes.
        labels = {"probabilities": tuple(json.dumps(character)[1:-1] for character in data.vocabulary)}
        whole = Served(
            name=self.name(),
            module=LSTMEndpoint(trained.network).eval(),
            inputs=(Tensor("tokens", "int64", ("batch", "time"), high=vocabulary - 1),),
            outputs=(Tensor("probabilities", "float32", ("batch", "time", vocabulary)),),
            examples={"tokens": np.ascontiguousarray(pieces[:, :-1])},
            labels=labels,
            sizes={"time": (1, 2, 17, EXAMPLE_LENGTH)},
        )
        return [whole, self._stream(trained.network, pieces, whole)]

    def _stream(self, network: CharacterLSTM, pieces: np.ndarray, whole: Served) -> Served:
        layers, vocabulary = network.lstm.num_layers, network.embedding.num_embeddings
        state = ("batch", layers, self.width)
        tokens = pieces[:CHAINS, :-1, np.newaxis]

        def all_at_once(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return torch_predict(whole)({"tokens": np.ascontiguousarray(steps["token"][:, :, 0])})

        return Served(
            name=f"{self.name()}_stream",
            module=LSTMStream(network).eval(),
            inputs=(
                Tensor("token", "int64", ("batch", 1), high=vocabulary - 1),
                Tensor("c_in", "float32", state, low=-LARGEST_CELL, high=LARGEST_CELL),
                Tensor("h_in", "float32", state, low=-1, high=1),
            ),
            outputs=(
                Tensor("probabilities", "float32", ("batch", vocabulary)),
                Tensor("c_out", "float32", state),
                Tensor("h_out", "float32", state),
            ),
            examples=examples_on_the_way(network, pieces),
            labels=whole.labels,
            states=(State("c_in", "c_out"), State("h_in", "h_out")),
            chain=Chain(
                steps={"token": np.ascontiguousarray(tokens)},
                whole=all_at_once,
                score=lambda answers: [bits_per_character(answers["probabilities"], pieces[:CHAINS, 1:])],
            ),
        )

    def score(self, predict: Predict, data: Text) -> list[Metric]:
        """Bits to code a held-out character, given those before it in its window of 256."""
        pieces = windows(data.held_out, 256)
        probabilities = predict({"tokens": np.ascontiguousarray(pieces[:, :-1])})["probabilities"]
        return [bits_per_character(probabilities, pieces[:, 1:])]
