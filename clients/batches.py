"""One item, a batch, or more items than the server takes at once: what is sent of them, and how answers are joined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.errors import Unreachable, WrongKind, WrongTensor
from clients.signature import Metadata
from clients.tensors import empty, prepared


@dataclass(frozen=True)
class Batch:
    """Checked inputs of a model. `size` counts their items, and is None for a model that is not batched.

    Of a `single` item the caller gave no batch axis, and gets none in the answers.
    """

    metadata: Metadata
    inputs: Mapping[str, np.ndarray]
    size: int | None
    single: bool

    def parts(self) -> list[Mapping[str, np.ndarray]]:
        """Views of the inputs, each of at most as many items as the server takes; none of an empty batch."""
        most = self.metadata.max_batch_size
        if self.size is None or 0 < self.size <= most:
            return [self.inputs]
        return [
            {name: array[start : start + most] for name, array in self.inputs.items()}
            for start in range(0, self.size, most)
        ]

    def joined(self, outputs: list[str], answers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The answers to the parts, in order, as one.

        Raises WrongKind where they have different shapes but for the batch, and Unreachable where one has not an item
        for each that was sent.
        """
        if self.single:
            return {name: self._item(name, answers[0][name]) for name in outputs}
        if len(answers) == 1:
            return answers[0]
        return {name: self._concatenated(name, [answer[name] for answer in answers]) for name in outputs}

    def _item(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.ndim == 0 or len(array) != 1:
            raise WrongKind(
                f"{self.metadata.name}: output {name!r} has {list(array.shape)} for one item; send it with a batch axis"
            )
        return array.reshape(array.shape[1:])

    def _concatenated(self, name: str, arrays: list[np.ndarray]) -> np.ndarray:
        model, most = self.metadata.name, self.metadata.max_batch_size
        if not arrays:
            (spec,) = (spec for spec in self.metadata.outputs if spec.name == name)
            return empty(spec.dtype, (0, *spec.shape[1:]))
        for array, part in zip(arrays, self.parts(), strict=True):
            sent = len(next(iter(part.values())))
            if len(array) != sent:
                raise Unreachable(f"{model}: output {name!r} came with {len(array)} items where {sent} were sent")
        try:
            return np.concatenate(arrays)
        except ValueError as error:
            shapes = " and ".join(sorted({str(list(array.shape[1:])) for array in arrays}))
            raise WrongKind(
                f"{model}: the items of output {name!r} have different shapes, {shapes}, and are no one array; "
                f"send at most {most} at once"
            ) from error


def batch_of(metadata: Metadata, inputs: Mapping[str, Any]) -> Batch:
    """`inputs` as the model takes them: one item where all of them lack the batch axis, else a batch.

    Raises:
        WrongTensor: A name, type or shape is not the model's, or inputs have different numbers of items.
    """
    if not isinstance(inputs, Mapping):
        raise WrongTensor(f"{metadata.name}: inputs are arrays by name, {{name: array}}, got {type(inputs).__name__}")
    metadata.check_names(inputs)
    specs = metadata.specs
    arrays = {
        name: prepared(value, specs[name].dtype, f"{metadata.name}: input {name!r}") for name, value in inputs.items()
    }
    batched = metadata.max_batch_size > 0
    single = batched and bool(arrays) and all(a.ndim == len(specs[name].shape) - 1 for name, a in arrays.items())
    for name, array in arrays.items():
        specs[name].check(array, metadata.name, single)
    if single:
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    if not batched:
        return Batch(metadata, arrays, None, single=False)
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise WrongTensor(f"{metadata.name}: inputs must have as many items each, they have: {told}")
    size = next(iter(sizes), 1)
    if metadata.stateful and size != 1:
        raise WrongTensor(f"{metadata.name}: a request of a sequence has one item, got a batch of {size}")
    return Batch(metadata, arrays, size, single)
