"""Recurrent networks of characters, whatever their cell: what the recipes of LSTM, GRU and the plain network share.

A character model after Graves, Generating sequences with recurrent neural networks, 2013. It is served twice: for a
whole text, and as a stream that takes a character a request while the server keeps the states.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_decay
from training.data.batches import batches
from training.data.text import Text, load_text
from training.loop.trainee import Trainee, one_cycle
from training.predict import torch_predict
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor
from training.states import Chain, State

Cell = type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]
LAYERS = 2
EXAMPLES = 64
EXAMPLE_LENGTH = 64
CHAINS = 16  # sequences of EXAMPLE_LENGTH characters that the stream is proven on
DISTANCES = 100  # characters that the picture of the gradients looks back


class CharacterNetwork(nn.Module):
    """Logits of the next character after every prefix."""

    def __init__(self, cell: Cell, vocabulary: int, width: int, layers: int = LAYERS, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.recurrent = cell(width, width, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to float32 [batch, time, vocabulary]."""
        return self.of_embedded(self.embedding(tokens))

    def of_embedded(self, characters: torch.Tensor) -> torch.Tensor:
        """The same of characters that are embedded, float32 [batch, time, width]."""
        # Dropout on what goes up, never on what goes on in time (Zaremba et al., 2014).
        return self.head(self.dropout(self.recurrent(self.dropout(characters))[0]))

    def embed_known(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embedded tokens, of which none may be negative: ONNX's Gather would take it from the end of the table."""
        return self.embedding(tokens.where(tokens >= 0, self.embedding.num_embeddings))


class CharacterEndpoint(nn.Module):
    """Tokens in, probabilities of the next character after every prefix out."""

    def __init__(self, network: CharacterNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to float32 [batch, time, vocabulary]; every row of it sums to 1."""
        return functional.softmax(self.network.of_embedded(self.network.embed_known(tokens)), dim=2)


class CharacterStream(nn.Module):
    """One token and the states after those before it in, probabilities of the next character and new states out.

    The states are in the order of their names: c and h of an LSTM, h of the others. ONNX and PyTorch have them as
    [layers, batch, width], Triton wants the batch first.
    """

    def __init__(self, network: CharacterNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, token: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """int64 [batch, 1], each state float32 [batch, layers, width] to float32 [batch, vocabulary] and the states."""
        before = tuple(state.transpose(0, 1).contiguous() for state in reversed(states))  # PyTorch has h before c
        embedded = self.network.embed_known(token)
        found, after = self.network.recurrent(embedded, before if len(before) > 1 else before[0])
        new = tuple(state.transpose(0, 1) for state in in_order_of_names(after))
        return functional.softmax(self.network.head(found[:, 0]), dim=1), *new


def in_order_of_names(states: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What a recurrent layer of PyTorch gives as its states, h alone or h and c, as c and h."""
    return (states,) if isinstance(states, torch.Tensor) else states[::-1]


class CharacterTrainee(Trainee):
    """Cross-entropy of the next character, gradients clipped by norm."""

    def __init__(self, network: CharacterNetwork, recipe: CharacterRecipe) -> None:
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


def examples_on_the_way(network: CharacterNetwork, pieces: np.ndarray) -> list[np.ndarray]:
    """Inputs of `CharacterStream` from windows int64 [n, time + 1]: row i comes after i + 1 characters of window i."""
    lengths = 1 + np.arange(len(pieces)) % (pieces.shape[1] - 1)
    with torch.inference_mode():
        embedded = network.embedding(torch.from_numpy(pieces[:, :-1]))
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
        )
        states = in_order_of_names(network.recurrent(packed)[1])
    token = np.take_along_axis(pieces, lengths[:, np.newaxis], axis=1)
    return [token, *(np.ascontiguousarray(state.transpose(0, 1).numpy()) for state in states)]


def bits_per_character(probabilities: np.ndarray, following: np.ndarray) -> Metric:
    """Bits to code int64 [n, time] with float32 [n, time, vocabulary]."""
    chosen = np.take_along_axis(probabilities, following[:, :, np.newaxis], axis=2)
    bits = -np.log2(np.maximum(chosen, np.finfo(np.float32).tiny), dtype=np.float64).mean()
    return Metric("bits per character", float(bits), higher_is_better=False)


def gradients_back_in_time(network: CharacterNetwork, pieces: np.ndarray) -> NDArray[np.float64]:
    """How much of the last character's loss reaches each character before it: [time], the nearest first.

    Norms of the gradients by the embedded characters of windows int64 [n, time + 1], their mean over the windows as
    shares of the nearest one's (Bengio, Simard and Frasconi, Learning long-term dependencies with gradient descent is
    difficult, 1994).
    """
    tokens = torch.from_numpy(pieces)
    embedded = network.embedding(tokens[:, :-1]).detach().requires_grad_()
    loss = functional.cross_entropy(network.of_embedded(embedded)[:, -1], tokens[:, -1], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, embedded)
    norms = gradient.norm(dim=2).mean(0).numpy()[::-1].astype(np.float64)
    return norms / norms[0]


@dataclass(frozen=True)
class CharacterRecipe(Recipe):
    """A recurrent network over characters."""

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

    cell: ClassVar[Cell]
    """PyTorch's layers of the cell."""
    states: ClassVar[Mapping[str, float]] = {"h": 1.0}
    """By name of each state, in their order: how far from 0 a number of it may be."""
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"bits per character": AllowedLoss(0.01, relative=True)}

    def dataset(self) -> Text:
        """Characters as tokens."""
        return load_text(self.data, self.data_dir)

    def network(self, data: Text) -> CharacterNetwork:
        """Without what it learns."""
        return CharacterNetwork(self.cell, len(data.vocabulary), self.width, dropout=self.dropout)

    def trainee(self, data: Text) -> CharacterTrainee:
        """The network with its loss and optimizer."""
        return CharacterTrainee(self.network(data), self)

    def loaders(self, data: Text) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Windows int64 [batch, window + 1]."""
        if self.window >= len(data.held_out):
            raise ConchError(f"--window {self.window}: the held-out text has only {len(data.held_out)} characters")
        return (
            batches(windows(data.train, self.window), size=self.batch_size, shuffle_seed=self.seed),
            batches(windows(data.held_out, self.window)[::8], size=256),
        )

    def served(self, trained: CharacterTrainee, data: Text) -> list[Served]:
        """A text to the probabilities after each of its prefixes, and the same a character at a time."""
        vocabulary = len(data.vocabulary)
        pieces = windows(data.held_out, EXAMPLE_LENGTH)[:EXAMPLES]
        # A label file has one label a line, so line breaks and their like are written as JSON escapes.
        labels = {"probabilities": tuple(json.dumps(character)[1:-1] for character in data.vocabulary)}
        whole = Served(
            name=self.name(),
            module=CharacterEndpoint(trained.network).eval(),
            inputs=(Tensor("tokens", "int64", ("batch", "time"), high=vocabulary - 1),),
            outputs=(Tensor("probabilities", "float32", ("batch", "time", vocabulary)),),
            examples={"tokens": np.ascontiguousarray(pieces[:, :-1])},
            labels=labels,
            sizes={"time": (1, 2, 17, EXAMPLE_LENGTH)},
        )
        return [whole, self._stream(trained.network, pieces, whole)]

    def _stream(self, network: CharacterNetwork, pieces: np.ndarray, whole: Served) -> Served:
        vocabulary = network.embedding.num_embeddings
        state = ("batch", network.recurrent.num_layers, self.width)
        tokens = pieces[:CHAINS, :-1, np.newaxis]
        names = ("token", *(f"{name}_in" for name in self.states))

        def all_at_once(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return torch_predict(whole)({"tokens": np.ascontiguousarray(steps["token"][:, :, 0])})

        return Served(
            name=f"{self.name()}_stream",
            module=CharacterStream(network).eval(),
            inputs=(
                Tensor("token", "int64", ("batch", 1), high=vocabulary - 1),
                *(Tensor(f"{name}_in", "float32", state, low=-far, high=far) for name, far in self.states.items()),
            ),
            outputs=(
                Tensor("probabilities", "float32", ("batch", vocabulary)),
                *(Tensor(f"{name}_out", "float32", state) for name in self.states),
            ),
            examples=dict(zip(names, examples_on_the_way(network, pieces), strict=True)),
            labels=whole.labels,
            states=tuple(State(f"{name}_in", f"{name}_out") for name in self.states),
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

    def picture(self, trained: CharacterTrainee, predict: Predict, data: Text, path: Path) -> None:
        """How the gradient vanishes on its way back in time, before and after training."""
        pieces = windows(data.held_out, DISTANCES)[:EXAMPLES]
        before = self.network(data).eval()
        lines = {
            name: gradients_back_in_time(network, pieces)
            for name, network in (("before training", before), ("trained", trained.network))
        }
        draw_decay(lines, "characters back", "share of the gradient that gets there", path)
