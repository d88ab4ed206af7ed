"""An encoder-decoder of transformers as two functions: one reads a source once, the other writes a token.

What the decoder looks up in the source, a key and a value of each place and layer, is made by the function that reads,
so that a step neither has the encoder's weights nor projects the source again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clients.generation import PAST, PRESENT, SOURCE
from export.pretrained.caches import (
    CacheShape,
    additive,
    cache_argument,
    cache_shape,
    cache_tensors,
    filled_cache,
    last_only,
    past,
)
from export.pretrained.offline import load_transformers
from export.pretrained.subject import Arrays, Named, Tensors

LOGITS, MASK = "logits", "attention_mask"
SOURCE_MASK = f"{SOURCE}mask"


@dataclass(frozen=True)
class Halves:
    """What goes from one function to the other, and from step to step."""

    start: int
    """The token that every text begins with."""
    source: CacheShape
    """Of the decoder's attention to the source."""
    kept: CacheShape
    """Of its attention to what is written."""


def halves_of(model: Any, item: Arrays, start: int, where: str) -> Halves:
    """What the model makes of an item.

    Raises:
        ConchError: a layer keeps something else than a key and a value of each token.
    """
    own, source = _run_alone(model, item, [start])
    return Halves(start, cache_shape(source, where), cache_shape(own, where))


def read(model: Any, given: Tensors, halves: Halves) -> Named:
    """What is served of the encoder: a key and a value of each place of the source, for each layer of the decoder."""
    _, source = _run(model, given, [halves.start])
    tensors = dict(zip(halves.source.names(SOURCE), cache_tensors(source), strict=True))
    return {SOURCE_MASK: given[MASK].clone(), **tensors} if MASK in given else tensors


def write(model: Any, given: Tensors, halves: Halves) -> Named:
    """What is served of the decoder: logits of the last token, and all keys and values so far.

    The first place of what was kept stands for nothing, so that there is a tensor to send before anything is written.
    """
    kept = past(dict(given), halves.kept)
    cache = _both([tensor[:, :, 1:] for tensor in kept], [given[name] for name in halves.source.names(SOURCE)])
    tokens, before = given["input_ids"], kept[0].shape[2] - 1
    place = torch.arange(before + tokens.shape[1])
    seen = (place[None, :] <= place[before:, None]).expand(tokens.shape[0], 1, -1, -1)
    masks = {"decoder_attention_mask": additive(seen, model.dtype)}
    if SOURCE_MASK in given:
        masks["attention_mask"] = additive(given[SOURCE_MASK] > 0, model.dtype)[:, None, None]
    with last_only(model, lambda hidden: hidden[:, -1:]):
        logits = _decoded(model, tokens, cache, 1, **masks)
    grown = zip(kept, cache_tensors(cache.self_attention_cache), strict=True)
    present = [torch.cat([tensor[:, :, :1], longer], 2) for tensor, longer in grown]
    return {LOGITS: logits[:, -1], **dict(zip(halves.kept.names(PRESENT), present, strict=True))}


def read_alone(model: Any, given: Tensors, halves: Halves) -> Named:
    """transformers' own way of reading, without a mask."""
    _, source = _run(model, {name: tensor for name, tensor in given.items() if name != MASK}, [halves.start])
    return dict(zip(halves.source.names(SOURCE), cache_tensors(source), strict=True))


def write_alone(model: Any, given: Tensors, halves: Halves) -> Named:
    """transformers' own way of writing on, with masks and positions of its own."""
    kept = [tensor[:, :, 1:] for tensor in past(dict(given), halves.kept)]
    source = [given[name] for name in halves.source.names(SOURCE)]
    cache = _both(kept if kept[0].shape[2] else [], source)
    return {LOGITS: _decoded(model, given["input_ids"], cache, source[0].shape[2])[:, -1]}


def before_a_step(model: Any, item: Arrays, written: Sequence[int], halves: Halves) -> dict[str, np.ndarray]:
    """What a step behind `written` is given by transformers' own caches, beside its tokens: by name, without the batch
    axis. Where nothing is written, the place alone that stands for nothing."""
    own, source = _run_alone(model, item, written or [halves.start])
    kept = [np.zeros((heads, 1, width), np.float32) for heads, k, v in halves.kept.layers for width in (k, v)]
    if written:
        grown = zip(kept, cache_tensors(own), strict=True)
        kept = [np.concatenate([nothing, tensor[0].numpy()], 1) for nothing, tensor in grown]
    found = [tensor[0].numpy() for tensor in cache_tensors(source)]
    return {
        **({SOURCE_MASK: item[MASK]} if MASK in item else {}),
        **dict(zip(halves.source.names(SOURCE), found, strict=True)),
        **dict(zip(halves.kept.names(PAST), kept, strict=True)),
    }


def _run_alone(model: Any, item: Arrays, written: Sequence[int]) -> tuple[Any, Any]:
    with torch.inference_mode():
        return _run(model, {name: torch.from_numpy(array[None]) for name, array in item.items()}, written)


def _run(model: Any, given: Mapping[str, torch.Tensor], written: Sequence[int]) -> tuple[Any, Any]:
    """The caches of what is written and of the source."""
    cache = _both([], [])
    tokens = torch.tensor([list(written)]).expand(next(iter(given.values())).shape[0], -1)
    model(**given, decoder_input_ids=tokens, use_cache=True, **{cache_argument(model): cache})
    return cache.self_attention_cache, cache.cross_attention_cache


def _both(kept: Sequence[torch.Tensor], source: Sequence[torch.Tensor]) -> Any:
    return load_transformers().EncoderDecoderCache(filled_cache(kept), filled_cache(source))


def _decoded(model: Any, tokens: torch.Tensor, cache: Any, places: int, **masks: torch.Tensor) -> torch.Tensor:
    """Logits behind tokens. Of the encoder's vectors the number alone counts: the cache has keys and values of them."""
    vectors = torch.zeros((tokens.shape[0], places, 1), dtype=model.dtype)
    logits: torch.Tensor = model(
        encoder_outputs=load_transformers().modeling_outputs.BaseModelOutput(last_hidden_state=vectors),
        decoder_input_ids=tokens, use_cache=True, **{cache_argument(model): cache}, **masks,
    ).logits  # fmt: skip
    return logits
