"""What a family of tasks makes of a folder: a module to serve, and transformers' own answers to hold it against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from export.pretrained.generation_proof import Generating
from training.served import Served
from training.tensors import Tensor

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, torch.Tensor]
Named = dict[str, torch.Tensor]


class Wrapped(torch.nn.Module):
    """A transformers model behind inputs and outputs in a row, as a graph has them."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[str], answer: Callable[[Any, Tensors], Named]) -> None:
        """Serve what `answer` makes of the model and its inputs by name."""
        super().__init__()
        self.model = model
        self._inputs = tuple(inputs)
        self._answer = answer

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The answers in their order."""
        return tuple(self._answer(self.model, dict(zip(self._inputs, tensors, strict=True))).values())


@dataclass(frozen=True)
class Subject:
    """A model that is ready to be converted and proven."""

    served: Served
    model: torch.nn.Module
    """transformers' own, of which `served.module` is made."""
    own: Callable[[Any, Tensors], Named]
    """transformers' own way of answering, with the model and one item [1, ...] without padding; written apart from what
    is served, so that the two are not wrong in the same way."""
    items: Sequence[Arrays]
    """Each as a client would send it alone: by input name, without the batch axis and without padding."""
    same: Callable[[Arrays, Arrays], bool]
    """Whether two answers to one item, without the batch axis, mean the same to a user."""
    padding: Mapping[str, float] = field(default_factory=dict)
    """By input name, what fills it up to the longest of a batch; empty where items are of one size."""
    axes: Mapping[str, int] = field(default_factory=dict)
    """By input name, the axis that is filled up where it is not the last; negative."""
    level: tuple[str, ...] = ()
    """Inputs of which a batch has rows of one shape alone: nothing tells the model what of them is filled up."""
    either_side: bool = False
    """Whether filling up in front is allowed as well."""
    kept: tuple[str, ...] = ()
    """Outputs that are no answers: what a client hands back with its next request."""
    truths: Sequence[int] = ()
    """Of the first items, the right class."""
    judged: str = ""
    """The output that `truths` are about."""
    tokens: Any = None
    """The `Tokens` that made the items, of texts that stand alone and get one answer each."""
    texts: Sequence[str] = ()
    """Those texts, one an item."""
    pictures: Any = None
    """The `Pictures` that made the items, of a model of pictures."""
    told: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of it."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What the model's configuration says to clients."""
    generating: Generating | None = None
    """Of a step that texts are written with: what is held against transformers' own `generate`."""

    @property
    def answers(self) -> tuple[Tensor, ...]:
        """The outputs that are held against transformers' own."""
        return tuple(tensor for tensor in self.served.outputs if tensor.name not in self.kept)

    def batches(self, rows: int) -> list[list[int]]:
        """The places of all items, so many a batch at the most, from all over; those that may stand together."""
        together: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for place, item in enumerate(self.items):
            together.setdefault(tuple(item[name].shape for name in self.level), []).append(place)
        steps = [(places, -(-len(places) // rows)) for places in together.values()]
        return [places[start::step] for places, step in steps for start in range(step)]

    def batch(self, places: Sequence[int], front: bool = False) -> dict[str, np.ndarray]:
        """These items as a batch, filled up behind or in front."""
        return padded([self.items[place] for place in places], self.padding, self.axes, front)


def padded(
    items: Sequence[Arrays],
    padding: Mapping[str, float],
    axes: Mapping[str, int] | None = None,
    front: bool = False,
) -> dict[str, np.ndarray]:
    """Items as a batch, filled up to the longest along the last axes, or along `axes`; behind, or in front."""
    batch = {}
    for name in items[0]:
        rows = [item[name] for item in items]
        if name in padding:
            axis = (axes or {}).get(name, -1)
            longest = max(row.shape[axis] for row in rows)
            rows = [_filled(row, longest, padding[name], axis, front) for row in rows]
        batch[name] = np.stack(rows)
    return batch


def _filled(row: np.ndarray, length: int, value: float, axis: int, front: bool) -> np.ndarray:
    missing = length - row.shape[axis]
    width = [(0, 0)] * row.ndim
    width[axis] = (missing, 0) if front else (0, missing)
    return np.pad(row, width, constant_values=value)
