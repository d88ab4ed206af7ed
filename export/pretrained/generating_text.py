"""Text generation: a decoder as one step, which takes the tokens that are new and what it kept of those before.

The same step reads a prompt and adds a token. What it keeps goes out as `present_X` and comes in again as `past_X`: the
keys and values of each layer, and a mask of the tokens they belong to. Positions are counted by the mask, row by row,
so that rows of different length stand in one batch and filling up, in front or behind, changes nothing. Nothing before
is a past of one place that its mask leaves out: a tensor of length 0 is refused by servers.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clients.generation import KEY
from conch.contracts.errors import ConchError
from export.pretrained.caches import (
    CacheShape,
    additive,
    cache_argument,
    cache_shape,
    cache_tensors,
    filled_cache,
    last_only,
    past,
    present,
)
from export.pretrained.folder import Folder
from export.pretrained.generation_proof import Generating
from export.pretrained.generation_settings import generation_settings
from export.pretrained.offline import load_transformers
from export.pretrained.subject import Arrays, Named, Subject, Tensors, Wrapped, padded
from export.pretrained.texts import long_text
from export.pretrained.tokens import Tokens, clients_tokenizer, load_tokens
from export.pretrained.wanted import Wanted
from training.served import Served
from training.tensors import Tensor

LOGITS = "logits"
MASKS = ("input_ids", "attention_mask", "past_mask")


def generate_text(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve a step: `logits` float32 [batch, vocabulary] of the last token, and what it keeps.

    Raises:
        ConchError: there is no tokenizer, or the model keeps something else than keys and values, or counts positions
            in a way that filling up would change.
    """
    where = str(folder.path)
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise ConchError(
            f"{where}: {type(model).__name__} cannot be told positions (position_ids), so that rows of different "
            "length could not be served together; it is not covered"
        )
    tokens = load_tokens(folder, model, wanted.tokenizer)
    tokens, windowed = _within_window(tokens, model.config)
    generation, told = generation_settings(model, where, tokens.limit)
    texts, _ = wanted.chosen_texts()
    told += clients_tokenizer(wanted.tokenizer or folder.path, tokens, [text for text, *_ in texts])
    prompts = [tokens.item(*text)["input_ids"] for text in texts]
    prompts = [prompt[: (tokens.limit or len(prompt) + 1) - 1] for prompt in prompts if len(prompt)]
    shape = _shape(model, where, prompts[0])
    items = [item for prompt in prompts for item in _split(model, shape, prompt)]
    items.append(_alone(shape, tokens.item(long_text())["input_ids"]))
    grid = items[:-1]
    served = Served(
        name=wanted.name,
        module=Wrapped(model, [*MASKS, *shape.names("past_")], lambda m, given: _step(m, given, shape)).eval(),
        inputs=(
            Tensor("input_ids", "int64", ("batch", "sequence"), 0, tokens.vocabulary - 1),
            Tensor("attention_mask", "int64", ("batch", "sequence"), 1, 1),
            Tensor("past_mask", "int64", ("batch", "past"), 0, 1),
            *shape.tensors("past_", "past"),
        ),
        outputs=(
            Tensor(LOGITS, "float32", ("batch", model.get_output_embeddings().weight.shape[0])),
            Tensor("present_mask", "int64", ("batch", "total")),
            *shape.tensors("present_", "total"),
        ),
        examples=padded(grid, _padding(tokens, shape), axes=_axes(shape)),
        largest_batch=wanted.largest_batch,
        sizes={name: tuple(sorted({1, _longest(grid, of)})) for name, of in SIZED.items()},
    )
    source = {
        "tokenizer": type(tokens.tokenizer).__name__, "most_tokens": tokens.limit,
        "inputs": f"{wanted.said_texts} ({len(prompts)}), the longest of {_longest(items, 'input_ids')} tokens",
    }  # fmt: skip
    return Subject(
        served, model, lambda m, given: _own(m, given, shape), items,
        same=lambda one, other: bool(one[LOGITS].argmax() == other[LOGITS].argmax()),
        padding=_padding(tokens, shape), axes=_axes(shape), either_side=True,
        kept=("present_mask", *shape.names("present_")), told=(tokens.told(), *windowed, *told), source=source,
        parameters={KEY: generation.as_parameter()}, generating=Generating(generation, prompts),
    )  # fmt: skip


SIZED = {"sequence": "input_ids", "past": "past_mask"}
"""By symbolic axis, an input that has it last."""


def _longest(items: Sequence[Arrays], name: str) -> int:
    return max(item[name].shape[-1] for item in items)


def _within_window(tokens: Tokens, config: Any) -> tuple[Tokens, tuple[str, ...]]:
    """No more tokens than every layer sees: within a sliding window, one is like any other."""
    kinds = getattr(config, "layer_types", None) or ()
    used = getattr(config, "use_sliding_window", True) and (not kinds or "sliding_attention" in kinds)
    window = getattr(config, "sliding_window", None) if used else None
    if not window or (tokens.limit and tokens.limit <= window):
        return tokens, ()
    told = f"it sees the last {window} tokens in some layers: texts are served up to that length"
    return replace(tokens, limit=int(window)), (told,)


def _shape(model: Any, where: str, prompt: np.ndarray) -> CacheShape:
    cache = load_cache(model)
    with torch.inference_mode():
        model(torch.from_numpy(prompt[None]), use_cache=True, **{cache_argument(model): cache})
    return cache_shape(cache, where)


def load_cache(model: Any) -> Any:
    """An empty cache as transformers itself would make it."""
    return load_transformers().cache_utils.DynamicCache(config=model.config)


def _alone(shape: CacheShape, prompt: np.ndarray, before: Sequence[np.ndarray] = ()) -> dict[str, np.ndarray]:
    """An item: `prompt` behind what was before, which is nothing or keys and values [heads, places, width]."""
    empty = [np.zeros((heads, 1, width), np.float32) for heads, k, v in shape.layers for width in (k, v)]
    kept = [np.concatenate(pair, 1) for pair in zip(empty, before, strict=True)] if before else empty
    mask = np.ones(kept[0].shape[1], np.int64)
    mask[0] = 0
    return {
        "input_ids": prompt, "attention_mask": np.ones_like(prompt), "past_mask": mask,
        **dict(zip(shape.names("past_"), kept, strict=True)),
    }  # fmt: skip


def _split(model: Any, shape: CacheShape, prompt: np.ndarray) -> list[dict[str, np.ndarray]]:
    """A prompt read at once; and where it has two tokens or more, its second half behind what the model kept of the
    first."""
    whole = [_alone(shape, prompt)]
    half = len(prompt) // 2
    if not half:
        return whole
    cache = load_cache(model)
    with torch.inference_mode():
        model(torch.from_numpy(prompt[None, :half]), use_cache=True, **{cache_argument(model): cache})
    return [*whole, _alone(shape, prompt[half:], [tensor[0].numpy() for tensor in cache_tensors(cache)])]


def _padding(tokens: Tokens, shape: CacheShape) -> dict[str, float]:
    """The place that is filled up may hold anything; what stands there is no zero, so that a proof would see it."""
    return {"input_ids": float(tokens.pad), "attention_mask": 0.0, "past_mask": 0.0} | dict.fromkeys(
        shape.names("past_"), shape.high
    )


def _axes(shape: CacheShape) -> dict[str, int]:
    return dict.fromkeys(shape.names("past_"), -2)


def _step(model: Any, given: Tensors, shape: CacheShape) -> Named:
    """What is served."""
    new, before = given["attention_mask"], given["past_mask"]
    mask = torch.cat([before, new], 1)
    start = before.shape[1]
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, start:]
    place = torch.arange(mask.shape[1])
    seen = (place[None, :] <= place[start:, None])[None] & (mask[:, None, :] > 0)
    last = (new * torch.arange(1, new.shape[1] + 1)).argmax(1)
    cache = filled_cache(past(dict(given), shape))

    def pick(hidden: torch.Tensor) -> torch.Tensor:
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1]))

    with last_only(model, pick):
        logits = model(
            input_ids=given["input_ids"], attention_mask=additive(seen, model.dtype)[:, None], position_ids=positions,
            use_cache=True, **{cache_argument(model): cache},
        ).logits  # fmt: skip
    return {LOGITS: logits[:, 0], "present_mask": mask, **present(cache, shape)}


def _own(model: Any, given: Tensors, shape: CacheShape) -> Named:
    """transformers' way, with masks and positions of its own, and a cache without the place that stands for nothing."""
    before = [tensor[:, :, 1:] for tensor in past(dict(given), shape)]
    cache = filled_cache(before) if before[0].shape[2] else load_cache(model)
    logits = model(given["input_ids"], use_cache=True, **{cache_argument(model): cache}).logits
    return {LOGITS: logits[:, -1]}
