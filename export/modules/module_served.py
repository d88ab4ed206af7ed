"""Make a `Served` of a bare module: inputs to prove it on, and outputs found by running it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from export.modules.bfloat16 import WAY_OUT, holds_bfloat16
from export.modules.module_spec import DTYPES
from export.modules.returned import returned_tensors
from export.proof.budget import largest
from training.predict import run_module
from training.tensors import Tensor

SEED = 0
FEWEST_ROWS = 8
"""Rows of generated inputs, where batches are not larger."""

# Relative to the largest value: far above what sums in another order move, far below what another item does.
MIXED = 1e-2

Arrays = dict[str, np.ndarray]


def random_examples(inputs: Sequence[Tensor], sizes: Mapping[str, tuple[int, ...]], largest_batch: int) -> Arrays:
    """Seeded uniform values within each input's range, symbolic axes at their largest size."""
    draw = np.random.default_rng(SEED)
    extent = {axis: sizes[axis][-1] for axis in sizes} | {"batch": max(largest_batch, FEWEST_ROWS)}
    arrays: Arrays = {}
    for tensor in inputs:
        shape = [extent[size] if isinstance(size, str) else size for size in tensor.shape]
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
    rows = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(rows) != 1 or 0 in rows:
        raise ConchError(f"--inputs-from {path}: each array needs the same number of rows, at least 1")
    for tensor in inputs:
        _check_array(path, tensor, arrays[tensor.name], sizes)
    index = np.arange(max(largest_batch, 3, *rows)) % next(iter(rows))  # 3 show which axes follow the batch
    return {name: arrays[name][index] for name in names}


def _check_array(path: Path, tensor: Tensor, array: np.ndarray, sizes: Mapping[str, tuple[int, ...]]) -> None:
    shape_fits = array.ndim == len(tensor.shape) and all(
        got >= sizes[want][-1] if isinstance(want, str) else got == want
        for got, want in list(zip(array.shape, tensor.shape, strict=True))[1:]
    )
    if array.dtype.name != tensor.dtype or not shape_fits:
        longest = "".join(f", {axis} at least {sizes[axis][-1]}" for axis in tensor.shape[1:] if isinstance(axis, str))
        raise ConchError(
            f"--inputs-from {path}: {tensor.name} is {array.dtype} {list(array.shape)}, declared is {tensor.dtype} "
            f"[{', '.join(map(str, tensor.shape))}]{longest}"
        )


def find_outputs(module: torch.nn.Module, inputs: Sequence[Tensor], examples: Arrays, names: Sequence[str],
                 sizes: Mapping[str, tuple[int, ...]]) -> tuple[Tensor, ...]:  # fmt: skip
    """Names, dtypes and shapes of the outputs: an axis that follows a symbolic axis of the inputs gets its name.

    An axis that changes otherwise (half of it, say) is named OUTPUT_AXIS. The module is run once for each axis.

    Raises:
        ConchError: the module fails on the inputs, gives what cannot be served, or mixes the items of a batch.
    """
    usual = {"batch": 2} | {axis: allowed[-1] for axis, allowed in sizes.items()}
    base = run_on(module, inputs, examples, usual)
    second = {name: array[1:] for name, array in examples.items()}
    alone = run_on(module, inputs, second, usual | {"batch": 1})
    names = names or (["output"] if len(base) == 1 else [f"output_{i}" for i in range(len(base))])
    if len(names) != len(base):
        raise ConchError(f"--output: {len(names)} names ({', '.join(names)}) for {len(base)} outputs of the module")
    if taken := sorted({name for name in names if [*names, *(tensor.name for tensor in inputs)].count(name) > 1}):
        raise ConchError(
            f"--output {taken[0]}: the name is taken; inputs and outputs of a graph have names of their own"
        )
    shapes: list[list[int | str]] = [list(output.shape) for output in base]
    for axis in usual:
        other = usual | {axis: 3 if axis == "batch" else sizes[axis][-2] if len(sizes[axis]) > 1 else 1}
        if other[axis] != usual[axis]:
            _name_axes(shapes, names, base, run_on(module, inputs, examples, other), axis, usual, other)
    for name, output, shape in zip(names, base, shapes, strict=True):
        dtype = str(output.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            advice = f"; {WAY_OUT}" if output.dtype == torch.bfloat16 else ""
            raise ConchError(
                f"output {name!r} is {dtype}, which cannot be served; allowed are {', '.join(DTYPES)}{advice}"
            )
        if shape[:1] != ["batch"]:
            raise ConchError(
                f"output {name!r} has the shape {list(output.shape)} for a batch of 2; its first axis must be the batch"
                f"{_where_the_batch_is(shape)}"
            )
    _refuse_mixed_rows(names, base, alone)
    return tuple(
        Tensor(name, str(output.dtype).removeprefix("torch."), tuple(shape))
        for name, output, shape in zip(names, base, shapes, strict=True)
    )


def _where_the_batch_is(shape: Sequence[int | str]) -> str:
    """What the axes of an output tell of a batch that is not its first."""
    if "batch" in shape:
        return f", and it is axis {shape.index('batch')}: transpose in the module"
    if shape and isinstance(shape[0], str):
        return (
            f", and it is {shape[0]}: the module takes {shape[0]} first: build it with batch_first=True, or transpose"
        )
    return ""


def _refuse_mixed_rows(names: Sequence[str], pair: Sequence[torch.Tensor], alone: Sequence[torch.Tensor]) -> None:
    """Refuse what no server may batch, whoever runs it: the second of two items answered otherwise than alone."""
    for name, both, one in zip(names, pair, alone, strict=True):
        second = both[1:].numpy(force=True)
        difference, same = compare(one.numpy(force=True), second, (MIXED * largest(second), MIXED))
        if both.is_floating_point() and not same:
            raise ConchError(
                f"the module answers the second of two items otherwise than that item alone: output {name!r} differs "
                f"by {difference:.3g}. A layer takes axis 0 for something else than the batch (time first: "
                "batch_first=True, or transpose in the module), or computes over it"
            )


def _name_axes(
    shapes: list[list[int | str]],
    names: Sequence[str],
    base: Sequence[torch.Tensor],
    changed: Sequence[torch.Tensor],
    axis: str,
    usual: Mapping[str, int],
    other: Mapping[str, int],
) -> None:
    """Write `axis` into `shapes` wherever the outputs followed it from its usual size to its other."""
    for shape, name, one, two in zip(shapes, names, base, changed, strict=True):
        if one.ndim != two.ndim:
            raise ConchError(f"output {name!r} has another number of axes where {axis} is {other[axis]}")
        for place, (before, after) in enumerate(zip(one.shape, two.shape, strict=True)):
            if before != after:
                follows = (before, after) == (usual[axis], other[axis]) and isinstance(shape[place], int)
                shape[place] = axis if follows else f"{name}_{place}"


def run_on(
    module: torch.nn.Module, inputs: Sequence[Tensor], examples: Arrays, extent: Mapping[str, int]
) -> tuple[torch.Tensor, ...]:
    """The outputs on the first rows of the examples, symbolic axes cut to `extent`."""
    arrays = [
        examples[tensor.name][tuple(slice(extent[s]) if isinstance(s, str) else slice(None) for s in tensor.shape)]
        for tensor in inputs
    ]
    shown = ", ".join(f"{t.name} {t.dtype} {list(a.shape)}" for t, a in zip(inputs, arrays, strict=True))
    try:
        outputs = run_module(module, arrays)
    except Exception as error:  # the user's own code
        advice = WAY_OUT if holds_bfloat16(module) else "do the inputs have the right order, axes and range?"
        raise ConchError(f"the module fails on {shown}: {type(error).__name__}: {' '.join(str(error).split())[:500]}; "
                         f"{advice}") from error  # fmt: skip
    return returned_tensors(outputs)
