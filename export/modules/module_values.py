"""Values to run a bare module on: drawn at random within the ranges of its inputs, or real ones from a file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from conch.contracts.errors import ConchError
from training.tensors import Tensor

SEED = 0
FEWEST_ROWS = 8
"""Rows of generated inputs, where batches are not larger."""

Arrays = dict[str, np.ndarray]


def random_examples(inputs: Sequence[Tensor], sizes: Mapping[str, tuple[int, ...]], largest_batch: int) -> Arrays:
    """Seeded uniform values within each input's range, symbolic axes at their largest size.

    Args:
        largest_batch: the most rows of a run; 0 where axis 0 of the inputs is no batch: then it is added, the item.
    """
    draw = np.random.default_rng(SEED)
    items = max(largest_batch, FEWEST_ROWS)
    extent = {axis: sizes[axis][-1] for axis in sizes} | ({"batch": items} if largest_batch else {})
    arrays: Arrays = {}
    for tensor in inputs:
        shape = [extent[size] if isinstance(size, str) else size for size in tensor.shape]
        shape = shape if largest_batch else [items, *shape]
        if np.dtype(tensor.dtype).kind == "f":
            arrays[tensor.name] = draw.uniform(tensor.low, tensor.high, shape).astype(tensor.dtype)
        else:
            numbers = draw.integers(int(tensor.low), int(tensor.high), shape, endpoint=True)
            arrays[tensor.name] = numbers.astype(tensor.dtype)
    return arrays


def real_examples(
    path: Path, inputs: Sequence[Tensor], sizes: Mapping[str, tuple[int, ...]], largest_batch: int
) -> Arrays:
    """The arrays of an .npz file by input name; rows are repeated where a batch needs more.

    Of inputs without a batch (`largest_batch` 0) an array is one item, or has the items as its axis 0.

    Raises:
        ConchError: it cannot be read, or its arrays are not the inputs by name, dtype and shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ConchError(
            f"--inputs-from {path} is no readable .npz file ({error}); make one: numpy.savez(path, NAME=array, ...)"
        ) from error
    names = [tensor.name for tensor in inputs]
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # any zip file opens as one
        raise ConchError(f"--inputs-from {path} is no readable .npz file; make one: numpy.savez(path, NAME=array, ...)")
    if sorted(arrays) != sorted(names):
        raise ConchError(f"--inputs-from {path} has the arrays {sorted(arrays)}, the inputs are {sorted(names)}")
    if not largest_batch and all(arrays[tensor.name].ndim == len(tensor.shape) for tensor in inputs):
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    rows = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(rows) != 1 or 0 in rows:
        raise ConchError(f"--inputs-from {path}: each array needs the same number of rows, at least 1")
    for tensor in inputs:
        _check_array(path, tensor, arrays[tensor.name], sizes, "batch" if largest_batch else "items")
    index = np.arange(max(largest_batch, 3, *rows)) % next(iter(rows))  # 3 show which axes follow the batch
    return {name: arrays[name][index] for name in names}


def _check_array(
    path: Path, tensor: Tensor, array: np.ndarray, sizes: Mapping[str, tuple[int, ...]], first: str
) -> None:
    declared = tensor.shape if first == "batch" else (first, *tensor.shape)
    shape_fits = array.ndim == len(declared) and all(
        got >= sizes[want][-1] if isinstance(want, str) else got == want
        for got, want in list(zip(array.shape, declared, strict=True))[1:]
    )
    if array.dtype.name != tensor.dtype or not shape_fits:
        longest = "".join(f", {axis} at least {sizes[axis][-1]}" for axis in declared[1:] if isinstance(axis, str))
        raise ConchError(
            f"--inputs-from {path}: {tensor.name} is {array.dtype} {list(array.shape)}, declared is {tensor.dtype} "
            f"[{', '.join(map(str, declared))}]{longest}"
        )
