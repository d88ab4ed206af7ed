"""The items that an ONNX file is judged on: rows of a batch, or what is run one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.onnx_files.trial import Trial
from serving.onnx_files.trial_inputs import check_inputs, read_arrays

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Given:
    """The inputs of `--inputs-from`; none, where the trial makes some."""

    arrays: Arrays | None = None
    counted: bool = False
    """Whether the first axis counts items of a model without a batch axis."""
    for_trial: Arrays | None = None
    """What the trial runs: all of them, or the first item."""

    def items(self, inputs: Sequence[Any], trial: Trial) -> Arrays:
        """By input, axis 0 the item.

        Args:
            inputs: what `InferenceSession.get_inputs` tells.
            trial: made with `for_trial`.
        """
        if self.arrays is None:
            return {tensor.name: _as_fed(trial.golden[f"inputs/{tensor.name}"], tensor, trial) for tensor in inputs}
        if trial.max_batch_size or self.counted:
            return self.arrays
        return {name: array[np.newaxis] for name, array in self.arrays.items()}


def read_given(path: Path | None, inputs: Sequence[Any]) -> Given:
    """The inputs as the file takes them; or many items, with one more axis in front, or where the file has a 1 there.

    Args:
        path: an .npz file.
        inputs: what `InferenceSession.get_inputs` tells.

    Raises:
        ServingError: they are not the file's inputs by name, type and shape.
    """
    if path is None:
        return Given()
    arrays = read_arrays(path)
    items = _many(arrays, inputs)
    if items is None:
        checked = check_inputs(arrays, path, tuple(inputs))
        return Given(checked, False, checked)
    one = {name: np.asarray(array[0], array.dtype) for name, array in items.items()}
    return Given(items, True, check_inputs(one, path, tuple(inputs)))


def _many(arrays: Arrays, inputs: Sequence[Any]) -> Arrays | None:
    """Items [items, ...] of a file that takes one; None where the arrays are something else."""
    shapes = {tensor.name: list(tensor.shape) for tensor in inputs}
    if arrays.keys() != shapes.keys():
        return None
    if all(_fits(array.shape[1:], shapes[name]) and array.ndim for name, array in arrays.items()):
        items = arrays
    elif all(shapes[name][:1] == [1] and _fits((1, *array.shape[1:]), shapes[name]) for name, array in arrays.items()):
        items = {name: array[:, np.newaxis] for name, array in arrays.items()}
    else:
        return None
    return items if len({len(array) for array in items.values()}) == 1 and len(next(iter(items.values()))) else None


def _fits(shape: tuple[int, ...], declared: Sequence[Any]) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(want, int) or want == size for size, want in zip(shape, declared, strict=True)
    )


def _as_fed(array: np.ndarray, tensor: Any, trial: Trial) -> np.ndarray:
    """Golden inputs as the session takes them: text as objects, and no axis of 1 that only the wire needs."""
    axes = len(tensor.shape) + (not trial.max_batch_size)
    array = array.reshape(array.shape[:axes]) if array.ndim > axes else array
    return array.astype(object) if array.dtype.kind == "U" else array
