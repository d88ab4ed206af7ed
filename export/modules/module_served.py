"""What a bare module returns: names, dtypes and shapes of its outputs, found by running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from export.conversion.convert import ExportError
from export.modules.bfloat16 import WAY_OUT
from export.modules.call import Call
from export.modules.flat import flattened
from export.modules.module_spec import DTYPES
from export.modules.returned import chosen_outputs
from export.modules.structure import leaves
from export.modules.taken import Taken, run_taken
from export.proof.budget import largest
from training.tensors import Tensor

# Relative to the largest value: far above what sums in another order move, far below what another item does.
MIXED = 1e-2

Shapes = list[list[int | str]]


class NoBatchError(ExportError):
    """The module takes a batch and an output has no axis for it."""


def find_outputs(
    module: torch.nn.Module, taken: Taken, names: Sequence[str]
) -> tuple[torch.nn.Module, tuple[Tensor, ...]]:
    """The module as a graph sees it, and its outputs: an axis that follows an open one of the inputs has its name.

    An axis that changes otherwise (half of it, say) is named OUTPUT_AXIS. The module is run once for each axis.

    Args:
        module: as the user gave it.
        taken: what it takes.
        names: of the outputs, as `chosen_outputs` has them.

    Raises:
        NoBatchError: it can be served without batches only.
        ExportError: the module gives what cannot be served, or mixes the items of a batch.
        ConchError: it fails on the inputs.
    """
    returned = run_taken(module, taken, taken.usual)
    paths, names = chosen_outputs(returned, names, taken.call.names)
    flat = flattened(module, taken.call, paths, returned)
    parts = dict(leaves(returned))
    base = tuple(parts[path] for path in paths)
    _check_dtypes(names, base)
    shapes: Shapes = [list(output.shape) for output in base]
    for axis, usual in taken.usual.items():
        other = 3 if axis == "batch" else ([1, *taken.sizes[axis]])[-2]
        if other != usual:
            _name_axes(shapes, names, base, _changed(flat, taken, axis, other, names), axis, (usual, other))
    if taken.batched:
        for name, output, shape in zip(names, base, shapes, strict=True):
            _check_batch(name, output, shape)
        _refuse_mixed_rows(names, base, _run(flat, taken, taken.usual | {"batch": 1}, first=1))
    return flat, tuple(
        Tensor(name, _dtype(output), tuple(shape)) for name, output, shape in zip(names, base, shapes, strict=True)
    )


def _run(flat: torch.nn.Module, taken: Taken, extent: Mapping[str, int], first: int = 0) -> tuple[torch.Tensor, ...]:
    plain = Taken(Call.row(taken.call.names), taken.inputs, taken.sizes, taken.examples, taken.real, taken.batched)
    outputs = run_taken(flat, plain, extent, first)
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _changed(
    flat: torch.nn.Module, taken: Taken, axis: str, size: int, names: Sequence[str]
) -> tuple[torch.Tensor, ...]:
    """The outputs where one axis has another size. Raises ConchError where they are others."""
    try:
        changed = _run(flat, taken, taken.usual | {axis: size})
        if len(changed) != len(names):
            raise ExportError(
                f"the module returns {len(changed)} tensors where {axis} is {size} and {len(names)} before: a graph "
                "always has the same outputs; return one tensor of them all, as torch.stack makes it"
            )
    except ConchError as error:
        if axis == "batch":
            raise NoBatchError(str(error)) from error
        raise
    return changed


def _check_dtypes(names: Sequence[str], outputs: Sequence[torch.Tensor]) -> None:
    for name, output in zip(names, outputs, strict=True):
        if _dtype(output) not in DTYPES:
            advice = f"; {WAY_OUT}" if output.dtype == torch.bfloat16 else ""
            raise ExportError(
                f"output {name!r} is {_dtype(output)}, which cannot be served; allowed are {', '.join(DTYPES)}{advice}"
            )


def _dtype(output: torch.Tensor) -> str:
    return str(output.dtype).removeprefix("torch.")


def _check_batch(name: str, output: torch.Tensor, shape: Sequence[int | str]) -> None:
    if shape[:1] == ["batch"]:
        return
    said = f"output {name!r} has the shape {list(output.shape)} for a batch of 2; its first axis must be the batch"
    alone = "or serve it without batches: --max-batch 0"
    if "batch" in shape:
        raise ExportError(f"{said}, and it is axis {shape.index('batch')}: transpose in the module, {alone}")
    if shape and isinstance(shape[0], str) and shape[0] != f"{name}_0":
        raise ExportError(
            f"{said}, and it is {shape[0]}: the module takes {shape[0]} first: build it with batch_first=True, or "
            f"transpose, {alone}"
        )
    raise NoBatchError(said)


def _refuse_mixed_rows(names: Sequence[str], pair: Sequence[torch.Tensor], alone: Sequence[torch.Tensor]) -> None:
    """Refuse what no server may batch, whoever runs it: the second of two items answered otherwise than alone."""
    for name, both, one in zip(names, pair, alone, strict=True):
        second = both[1:].numpy(force=True)
        difference, same = compare(one.numpy(force=True), second, (MIXED * largest(second), MIXED))
        if both.is_floating_point() and not same:
            raise ExportError(
                f"the module answers the second of two items otherwise than that item alone: output {name!r} differs "
                f"by {difference:.3g}. A layer takes axis 0 for something else than the batch (time first: "
                "batch_first=True, or transpose in the module), or computes over it (then --max-batch 0 serves it "
                "without batches)"
            )


def _name_axes(
    shapes: Shapes,
    names: Sequence[str],
    base: Sequence[torch.Tensor],
    changed: Sequence[torch.Tensor],
    axis: str,
    sizes: tuple[int, int],
) -> None:
    """Write `axis` into `shapes` wherever the outputs followed it from its usual size to its other."""
    for shape, name, one, two in zip(shapes, names, base, changed, strict=True):
        if one.ndim != two.ndim:
            raise ExportError(f"output {name!r} has another number of axes where {axis} is {sizes[1]}")
        for place, (before, after) in enumerate(zip(one.shape, two.shape, strict=True)):
            if before != after:
                follows = (before, after) == sizes and isinstance(shape[place], int)
                shape[place] = axis if follows else f"{name}_{place}"
