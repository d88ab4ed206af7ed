"""A Markov chain of characters: the next one by counting what followed the last two.

    conch train markov_chain
    conch train markov_chain --data shakespeare

Markov, An example of statistical investigation of the text Eugene Onegin, 1913; contexts that were seldom seen lean on
shorter ones (Jelinek and Mercer, Interpolated estimation of Markov source parameters from sparse data, 1980). It
forgets all but two characters, which is why it needs more bits than `rnn` and `lstm`, which are asked about the same
text.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from training.characters import bits_per_character, windows
from training.data.batches import batches
from training.data.text import Text, load_text
from training.loop.trainee import GradientFree
from training.recipe import Metric, Predict, Recipe, Served, Tensor

EXAMPLES, EXAMPLE_LENGTH = 64, 64
WINDOW = 256


class Chain(nn.Module):
    """Tokens in, probabilities of the next character after every prefix out, each read off a table."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary  # beside its characters contexts have one for what is before the beginning
        even = torch.full(((vocabulary + 1) ** 2, vocabulary), 1 / vocabulary)
        self.table = nn.Parameter(even, requires_grad=False)

    def contexts(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to the row of the table after each token; there is none for what is no character."""
        before = functional.pad(tokens[:, :-1], (1, 0), value=self.vocabulary)
        rows = before * (self.vocabulary + 1) + tokens
        return rows.where((tokens >= 0) & (tokens < self.vocabulary), len(self.table))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, time] to float32 [batch, time, vocabulary]; every row of it sums to 1."""
        return functional.embedding(self.contexts(tokens), self.table)


class ChainTrainee(GradientFree):
    """Counts what follows each two characters."""

    def __init__(self, chain: Chain, lean: float) -> None:
        super().__init__()
        self.chain = chain
        self.lean = lean
        self.counts = torch.zeros(())

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Count in windows int64 [batch, time + 1]."""
        tokens, following = batch[0][:, :-1], batch[0][:, 1:]
        cells = self.chain.contexts(tokens) * self.chain.vocabulary + following
        self.counts = self.counts + torch.bincount(cells.flatten(), minlength=self.chain.table.numel()).double()
        return {"characters": torch.tensor(float(cells.numel()))}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Shares of the counts; each context has as many more of what shorter ones say as `lean`."""
        counts = self.counts.view(self.chain.vocabulary + 1, self.chain.vocabulary + 1, -1)
        shares = counts.sum((0, 1)) + 1
        shares = shares / shares.sum()
        for of_context in (counts.sum(0), counts):
            shares = (of_context + self.lean * shares) / (of_context.sum(-1, keepdim=True) + self.lean)
        self.chain.table.copy_(shares.flatten(0, 1))
        seen = (self.counts.view(self.chain.table.shape).sum(1) > 0).float().mean()
        self.counts = torch.zeros(())
        return {"contexts that were seen": seen}


@dataclass(frozen=True)
class MarkovChain(Recipe):
    """The next character by the last two."""

    data: str = "manual"
    """manual (embedded), shakespeare, or the path of a UTF-8 text file."""
    data_dir: str = ""
    """Where public data sets are looked for and kept (default: CONCH_DATA, else ~/.cache/conch)."""
    epochs: int = field(default=1, init=False)
    learning_rate: float = field(default=1.0, init=False)
    batch_size: int = 256
    """Windows that are counted in at once."""
    lean: float = 4.0
    """Characters that a context has by what shorter ones say, before its own are counted."""

    learns_by: ClassVar[str] = "counting"
    serves: ClassVar[tuple[str, ...]] = ("tokens -> probabilities",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "manual": {"bits per character": 2.7, "influence of what is further back": 0.0}
    }

    def dataset(self) -> Text:
        """Characters as tokens."""
        return load_text(self.data, self.data_dir)

    def trainee(self, data: Text) -> ChainTrainee:
        """A table in which all characters are alike."""
        return ChainTrainee(Chain(len(data.vocabulary)), self.lean)

    def loaders(self, data: Text) -> tuple[DataLoader[Any], None]:
        """Windows int64 [batch, time + 1]."""
        return batches(windows(data.train, WINDOW), size=self.batch_size), None

    def served(self, trained: ChainTrainee, data: Text) -> list[Served]:
        """One endpoint: a text to the probabilities after each of its prefixes."""
        vocabulary = len(data.vocabulary)
        return [
            Served(
                name=self.name(),
                module=trained.chain.eval(),
                inputs=(Tensor("tokens", "int64", ("batch", "time"), high=vocabulary - 1),),
                outputs=(Tensor("probabilities", "float32", ("batch", "time", vocabulary)),),
                examples={"tokens": np.ascontiguousarray(windows(data.held_out, EXAMPLE_LENGTH)[:EXAMPLES, :-1])},
                labels={"probabilities": tuple(json.dumps(character)[1:-1] for character in data.vocabulary)},
                sizes={"time": (1, 2, 17, EXAMPLE_LENGTH)},
            )
        ]

    def score(self, predict: Predict, data: Text) -> list[Metric]:
        """Bits to code a held-out character, given those before it, and what any but the last two change of them."""
        pieces = windows(data.held_out, WINDOW)
        tokens = np.ascontiguousarray(pieces[:, :-1])
        probabilities = predict({"tokens": tokens})["probabilities"]
        others = tokens[:64].copy()
        others[:, : WINDOW // 2] = np.roll(others, 1, axis=0)[:, : WINDOW // 2]
        later = slice(WINDOW // 2 + 1, None)
        change = predict({"tokens": others})["probabilities"][:, later] - probabilities[:64, later]
        return [
            bits_per_character(probabilities, pieces[:, 1:]),
            Metric("influence of what is further back", abs(change).max(), higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Text, path: Path) -> None:
        """How likely each small letter is after each other one at the beginning of a text."""
        letters = [letter for letter in string.ascii_lowercase if letter in data.vocabulary]
        tokens = np.array([[data.vocabulary.index(letter)] for letter in letters])
        found = predict({"tokens": tokens})["probabilities"][:, 0][:, tokens[:, 0]]
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(np.sqrt(found), cmap="magma")
        axes.set(xticks=range(len(letters)), yticks=range(len(letters)), xticklabels=letters, yticklabels=letters)
        axes.set(xlabel="next", ylabel="letter")
        figure.savefig(path, dpi=110)
