"""What all models of tokens have in common: their inputs, their examples, and where a text ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from export.pretrained.subject import Arrays, Named, Subject, Tensors, Wrapped, padded
from export.pretrained.tokens import Tokens, short_sizes
from export.pretrained.wanted import Wanted
from training.served import Served
from training.tensors import Tensor

Answer = Callable[[Any, Tensors], Named]


def text_subject(
    wanted: Wanted,
    tokens: Tokens,
    model: Any,
    items: Sequence[Arrays],
    answer: Answer,
    own: Answer,
    outputs: tuple[Tensor, ...],
    same: Callable[[Arrays, Arrays], bool],
    labels: Mapping[str, tuple[str, ...]] | None = None,
    truths: Sequence[int] = (),
    judged: str = "",
    texts: Sequence[str] = (),
) -> Subject:
    """A model of tokens: what `answer` makes of a padded batch is served, and held against `own` on texts alone.

    The last of `items` is the longest; the grid, which runs every item many times, has the others. `texts` are what the
    items were made of, where each is a text alone that gets one answer.
    """
    grid = items[:-1]
    served = Served(
        name=wanted.name,
        module=Wrapped(model, tokens.names, answer).eval(),
        inputs=tokens.tensors(),
        outputs=outputs,
        examples=padded(grid, tokens.padding),
        labels=dict(labels or {}),
        largest_batch=wanted.largest_batch,
        # An encoder-decoder's head looks for the end of the text, which a shorter row would not have.
        sizes={"sequence": short_sizes(grid, cuttable=not model.config.is_encoder_decoder)},
    )
    source = {
        "tokenizer": type(tokens.tokenizer).__name__, "most_tokens": tokens.limit,
        "inputs": f"{wanted.said_texts} ({len(items)}), the longest of {items[-1]['input_ids'].shape[-1]} tokens",
    }  # fmt: skip
    told = (tokens.told(),)
    return Subject(
        served, model, own, items, same, tokens.padding, truths=truths, judged=judged,
        tokens=tokens if texts else None, texts=texts, told=told, source=source,
    )  # fmt: skip


def last_token(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Of each row of `hidden` [batch, sequence, width] the last that `mask` counts: [batch, width]."""
    place = (mask.sum(1) - 1).clamp(min=0)
    return hidden.gather(1, place[:, None, None].expand(-1, 1, hidden.shape[-1]))[:, 0]
