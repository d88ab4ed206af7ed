"""A decoder that attends to what it writes about, token by token, and writes greedily inside the graph.

Bahdanau, Cho and Bengio, Neural machine translation by jointly learning to align and translate, 2014. One token, 0,
begins a text, ends it and fills what is left of its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.score import Metric

NOTHING = 0
"""The token that begins a text, ends it, and stands behind its end."""


class AttentionDecoder(nn.Module):
    """A GRU that before each token looks at all places of a memory.

    `memory` is float32 [batch, places, seen]; `there` bool [batch, places] says which of its places count, one or more.
    """

    def __init__(self, vocabulary: int, seen: int, width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.first = nn.Linear(seen, width)
        self.key = nn.Linear(seen, width)
        self.query = nn.Linear(width, width, bias=False)
        self.energy = nn.Linear(width, 1, bias=False)
        self.embedding = nn.Embedding(vocabulary, width)
        self.cell = nn.GRUCell(width + seen, width)
        self.head = nn.Linear(width + seen, vocabulary)

    def begin(self, memory: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The state float32 [batch, width] before the first token: made of the mean of the memory."""
        counted = there.unsqueeze(2).float()
        return torch.tanh(self.first((memory * counted).sum(1) / counted.sum(1)))

    def step(
        self, token: torch.Tensor, state: torch.Tensor, memory: torch.Tensor, keys: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [batch, vocabulary] of the token after `token` int64 [batch], the new state, and where it looked.

        `keys` is `self.key(memory)`, which is the same for all steps.
        """
        energy = self.energy(torch.tanh(self.query(state).unsqueeze(1) + keys)).squeeze(2)
        attention = energy.masked_fill(~there, -1e9).softmax(1)
        context = (attention.unsqueeze(1) @ memory).squeeze(1)
        state = self.cell(torch.cat([self.embedding(token), context], 1), state)
        return self.head(torch.cat([state, context], 1)), state, attention

    def forward(self, tokens: torch.Tensor, memory: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Logits [batch, time, vocabulary] of each of `tokens` int64 [batch, time], given those before it."""
        return torch.stack([logits for logits, _ in self._told(tokens, memory, there)], 1)

    def attend(self, tokens: torch.Tensor, memory: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Where it looks for each of `tokens`: [batch, time, places], of which each row sums to 1."""
        return torch.stack([attention for _, attention in self._told(tokens, memory, there)], 1)

    def _told(
        self, tokens: torch.Tensor, memory: torch.Tensor, there: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and attention of each step, with the right tokens before it."""
        state, keys, token = self.begin(memory, there), self.key(memory), torch.full_like(tokens[:, 0], NOTHING)
        for following in tokens.unbind(1):
            logits, state, attention = self.step(token, state, memory, keys, there)
            yield logits, attention
            token = following

    def write(self, memory: torch.Tensor, there: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The likeliest token each time, until every row has ended or has `most` tokens.

        Int64 [batch, most], and the probabilities that each was chosen by, float32 [batch, most, vocabulary]; behind
        its end a row has zeros in both.
        """
        rows, keys = memory.shape[0], self.key(memory)
        places = torch.arange(most)

        def going_on(step: torch.Tensor, token: torch.Tensor, state: torch.Tensor, alive: torch.Tensor, *_: Any) -> Any:
            return (step < most) & alive.any()

        def write_one(
            step: torch.Tensor, token: torch.Tensor, state: torch.Tensor, alive: torch.Tensor,
            written: torch.Tensor, probabilities: torch.Tensor,
        ) -> tuple[torch.Tensor, ...]:  # fmt: skip
            logits, state, _ = self.step(token, state, memory, keys, there)
            found = logits.softmax(1) * alive.unsqueeze(1)  # of a row that has ended all are 0, and NOTHING comes first
            token = found.argmax(1)
            here = (places == step).unsqueeze(0)
            written = torch.where(here, token.unsqueeze(1), written)
            probabilities = torch.where(here.unsqueeze(2), found.unsqueeze(1), probabilities)
            return step + 1, token, state, alive & (token != NOTHING), written, probabilities

        nothing = torch.full((rows,), NOTHING)
        carried = (
            torch.zeros((), dtype=torch.int64), nothing, self.begin(memory, there), nothing == NOTHING,
            torch.zeros(rows, most, dtype=torch.int64), torch.zeros(rows, most, self.vocabulary),
        )  # fmt: skip
        *_, written, probabilities = loop(going_on, write_one, carried)
        return written, probabilities


def loop(
    going_on: Callable[..., torch.Tensor],
    step: Callable[..., tuple[torch.Tensor, ...]],
    carried: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    """`step` again and again while `going_on`: a Loop of the graph where one is exported, else Python's own."""
    if torch.compiler.is_exporting():
        return torch.while_loop(going_on, step, carried)
    while going_on(*carried):
        carried = step(*carried)
    return carried


def loss_of_written(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of `tokens` int64 [batch, time] up to the end of each row, that included."""
    begun = torch.cat([torch.ones_like(tokens[:, :1]), tokens[:, :-1]], 1) != NOTHING
    return functional.cross_entropy(logits[begun], tokens[begun])


def share_exact(written: np.ndarray, right: np.ndarray) -> Metric:
    """Share of the rows int64 [n, time] that are right from the first token to the last."""
    return Metric("exact", np.mean((written == right).all(1)) * 100, "%")
