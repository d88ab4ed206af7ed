"""transformers' caches of keys and values, as tensors of a graph and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from clients.generation import PAST, PRESENT
from conch.contracts.errors import ConchError
from export.pretrained.offline import load_transformers
from training.tensors import Tensor


@dataclass(frozen=True)
class CacheShape:
    """The keys and values of a decoder's layers: float32 [batch, heads, places, width] each."""

    layers: tuple[tuple[int, int, int], ...]
    """Heads, width of a key and width of a value, of each layer."""
    low: float = -1.0
    high: float = 1.0
    """Of the values that were seen: what a proof may feed."""

    def names(self, begin: str) -> list[str]:
        """`begin` with key_0, value_0, key_1, ..."""
        return [f"{begin}{kind}_{layer}" for layer in range(len(self.layers)) for kind in ("key", "value")]

    def tensors(self, begin: str, places: str) -> tuple[Tensor, ...]:
        """Of those names, whose third axis is called `places`."""
        sizes = [(heads, width) for heads, key, value in self.layers for width in (key, value)]
        return tuple(
            Tensor(name, "float32", ("batch", heads, places, width), self.low, self.high)
            for name, (heads, width) in zip(self.names(begin), sizes, strict=True)
        )


def cache_shape(cache: Any, where: str) -> CacheShape:
    """What a cache that was filled by a run is made of.

    Raises:
        ConchError: a layer keeps something else than a key and a value of each token.
    """
    cache_utils = load_transformers().cache_utils
    for layer in cache.layers:
        if not isinstance(layer, cache_utils.DynamicLayer) or layer.keys is None or layer.keys.ndim != 4:
            raise ConchError(
                f"{where}: its {type(layer).__name__} keeps no key and value of each token (as state-space and linear "
                "attention do), which is not covered; conch export module serves a module of your own"
            )
    values = torch.cat([tensor.flatten() for layer in cache.layers for tensor in (layer.keys, layer.values)])
    return CacheShape(
        tuple((layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in cache.layers),
        float(values.min()), float(values.max()),
    )  # fmt: skip


def filled_cache(tensors: Sequence[torch.Tensor]) -> Any:
    """A cache of keys and values in turn, [batch, heads, places, width] each; it keeps all, whatever a window says."""
    cache = load_transformers().cache_utils.DynamicCache()
    for layer in range(len(tensors) // 2):
        cache.update(tensors[2 * layer], tensors[2 * layer + 1], layer)
    return cache


def cache_tensors(cache: Any) -> list[torch.Tensor]:
    """Keys and values in turn."""
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def present(cache: Any, shape: CacheShape) -> dict[str, torch.Tensor]:
    """What a step gives of its cache, by name."""
    return dict(zip(shape.names(PRESENT), cache_tensors(cache), strict=True))


def past(given: dict[str, torch.Tensor], shape: CacheShape) -> list[torch.Tensor]:
    """What a step was given of a cache."""
    return [given[name] for name in shape.names(PAST)]


def cache_argument(model: Any) -> str:
    """What transformers calls the cache, which later releases of 5 renamed."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores: 0 where `seen`, else the lowest number; not minus infinity, of which a place that sees
    nothing would become NaN."""
    return torch.where(seen, torch.zeros((), dtype=dtype), torch.full((), torch.finfo(dtype).min, dtype=dtype))


@contextmanager
def last_only(model: Any, pick: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Have the vocabulary's layer, the largest, work on what `pick` takes of the hidden states [batch, n, width]."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, arguments: (pick(arguments[0]), *arguments[1:]))
    try:
        yield
    finally:
        hook.remove()
