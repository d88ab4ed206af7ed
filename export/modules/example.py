"""What a module takes, from examples of it: the way without `--input`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.modules.call import Arguments, Call, call_with
from export.modules.example_axes import Axis, Trials, find_sizes, offers, parse_open, varied, why_not_batched
from export.modules.example_files import as_tensors
from export.modules.example_values import ranges_told, real_values, value_range, with_random
from export.modules.module_spec import parse_sizes
from export.modules.taken import Taken, one_line, run_call
from training.predict import forward_signature
from training.tensors import Tensor


@dataclass(frozen=True)
class Read:
    """What examples say, and what the user has to know of it."""

    taken: Taken
    why_not_batched: str
    """Empty where axis 0 is a batch."""
    told: tuple[str, ...]
    rows: int
    """The size of axis 0 in the first example; 1 where it has none."""


def read_examples(
    module: torch.nn.Module,
    examples: Sequence[Any],
    opened: Sequence[str],
    sizes: Sequence[str],
    largest_batch: int,
) -> Read:
    """What the module takes, as the examples have it.

    Args:
        module: in eval mode, with its weights.
        examples: as `example_files.read_example` gives them; one, or several with other sizes.
        opened: all `--open`.
        sizes: all `--sizes`.
        largest_batch: the most rows of a run; 0 serves without batches, whatever the module takes.

    Raises:
        ConchError: the examples are none, differ in more than sizes, or the module does not take them.
    """
    converted = [as_tensors(example) for example in examples]
    call, first, narrowed = _understood(module, converted[0])
    arrays = [first, *(_alike(module, call, first, other, narrowed) for other in converted[1:])]
    trials = Trials(module, call, first)
    reason = "--max-batch 0 asks for it" if not largest_batch else why_not_batched(trials)
    labels = varied(trials, arrays, parse_open(opened, trials, not reason), not reason)
    all_sizes = find_sizes(trials, arrays, labels, parse_sizes(sizes, sorted(set(labels.values()))))
    told = [f"{', '.join(narrowed)}: float64 in the example, and the module takes float32"] if narrowed else []
    inputs = tuple(
        _input(name, [one[index] for one in arrays], _of(index, labels), not reason)
        for index, name in enumerate(call.names)
    )
    real = real_values(call, arrays, labels, all_sizes, not reason)
    taken, said = with_random(module, call, inputs, all_sizes, real, 0 if reason else largest_batch)
    found, untried = offers(trials, labels, not reason)
    if found:
        told.append(f"the module takes other sizes too; to open an axis, add: {', or '.join(found)}")
    if untried:
        told.append(f"the module is slow, other sizes were not tried of {', '.join(untried)}; --open tries one")
    rows = first[0].shape[0] if first[0].ndim else 1
    return Read(taken, reason, (*told, *said, *ranges_told(taken)), rows)


def _understood(module: torch.nn.Module, example: Any) -> tuple[Call, list[np.ndarray], list[str]]:
    """The first meaning of the example that the module runs, its arrays, and the names of those made float32."""
    unbound: list[str] = []
    failed: list[str] = []
    for arguments in _meanings(example):
        try:
            call = call_with(module, arguments)
        except TypeError as error:
            unbound.append(f"forward{forward_signature(module)} does not take the example: {error}")
            continue
        arrays = [tensor.numpy() for tensor in _tensors(arguments)]
        wide = [name for name, array in zip(call.names, arrays, strict=True) if array.dtype == np.float64]
        for narrowed in ([], wide) if wide else ([],):
            tried = _narrow(call, arrays, narrowed)
            try:
                run_call(module, call, tried)
            except Exception as error:  # the user's own code
                shown = ", ".join(f"{n} {a.dtype} {list(a.shape)}" for n, a in zip(call.names, tried, strict=True))
                failed.append(f"the module fails on the example, {shown}: {one_line(error)}")
            else:
                return call, tried, narrowed
    # A dictionary that is no keyword arguments is tried as the one argument, which few have meant.
    raise ConchError([*unbound, *failed][0] if isinstance(example, Mapping) and unbound else [*failed, *unbound][0])


def _meanings(example: Any) -> Iterator[Arguments]:
    """What an example may be, the likeliest first: as `torch.onnx.export` has `args` and `kwargs`, or one argument."""
    if isinstance(example, Mapping):
        if all(isinstance(key, str) for key in example):
            yield (), dict(example)
    elif type(example) is tuple:
        *before, last = example or [None]
        if isinstance(last, Mapping):
            if len(before) == 1 and isinstance(before[0], tuple):
                yield before[0], dict(last)
            yield tuple(before), dict(last)
        yield example, {}
    yield (example,), {}
    if isinstance(example, list):
        yield tuple(example), {}


def _tensors(arguments: Arguments) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]


def _narrow(call: Call, arrays: list[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    return [
        array.astype(np.float32) if name in names else array for name, array in zip(call.names, arrays, strict=True)
    ]


def _alike(
    module: torch.nn.Module, call: Call, first: list[np.ndarray], example: Any, narrowed: Sequence[str]
) -> list[np.ndarray]:
    """The arrays of another example. Raises ConchError where it differs in more than sizes."""
    other, arrays, _ = _understood(module, example)
    arrays = _narrow(call, arrays, narrowed) if other.names == call.names else arrays
    kinds = [(name, array.dtype.name, array.ndim) for name, array in zip(call.names, first, strict=True)]
    others = [(name, array.dtype.name, array.ndim) for name, array in zip(other.names, arrays, strict=True)]
    if kinds != others or repr(call.constants) != repr(other.constants):
        raise ConchError(
            f"the examples differ in more than sizes: {_kinds(kinds, call)} and {_kinds(others, other)}; the graph is "
            "made for one kind of call"
        )
    return arrays


def _kinds(kinds: Sequence[tuple[str, str, int]], call: Call) -> str:
    tensors = [f"{name} {dtype} of {axes} axes" for name, dtype, axes in kinds]
    return ", ".join([*tensors, *(f"{name}={value!r}" for name, value in call.constants.items())])


def _of(index: int, labels: Mapping[Axis, str]) -> dict[int, str]:
    """The labels of one input's axes."""
    return {axis: label for (of, axis), label in labels.items() if of == index}


def _input(name: str, arrays: Sequence[np.ndarray], labels: Mapping[int, str], batched: bool) -> Tensor:
    shape: list[int | str] = list(arrays[0].shape)
    for axis, label in ({0: "batch"} if batched else {}).items() | labels.items():
        shape[axis] = label
    return Tensor(name, arrays[0].dtype.name, tuple(shape), *value_range(arrays))
