"""Ranges and rows of inputs from the values of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from export.modules.call import Call
from export.modules.example_axes import Axis, resized
from export.modules.module_spec import default_range
from export.modules.module_values import Arrays, random_examples
from export.modules.taken import Taken, one_line, run_call
from training.tensors import Tensor


def value_range(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """The extremes of the values; of a mere placeholder, and of pixels, what `--input` takes without a range.

    Nothing but zeros or ones is no value that anybody measured, and 8-bit integers beyond 1 are taken to be pixels.
    """
    values = np.concatenate([array.ravel() for array in arrays])
    kind = values.dtype.kind
    values = values[np.isfinite(values)] if kind == "f" else values
    if not values.size or kind == "b":
        return default_range(arrays[0].dtype.name)
    low, high = values.min(), values.max()
    if kind != "f" and low >= 0 and high <= 1:
        return 0, 1
    if (low == high and low in (0, 1)) or (kind != "f" and values.dtype.itemsize == 1):
        return default_range(values.dtype.name)
    # As a person writes it: the shortest number that is this one in its dtype.
    return (float(str(low)), float(str(high))) if kind == "f" else (int(low), int(high))


def real_values(
    call: Call,
    examples: Sequence[Sequence[np.ndarray]],
    labels: Mapping[Axis, str],
    sizes: Mapping[str, tuple[int, ...]],
    batched: bool,
) -> Arrays:
    """The examples' values by input, axis 0 the item, open axes at their largest size: begun again where shorter."""
    largest = {axis: sizes[label][-1] for axis, label in labels.items()}
    items = [[resized(array, index, largest) for index, array in enumerate(arrays)] for arrays in examples]
    join = np.concatenate if batched else np.stack
    return {name: join([arrays[index] for arrays in items]) for index, name in enumerate(call.names)}


def with_random(
    module: torch.nn.Module,
    call: Call,
    inputs: tuple[Tensor, ...],
    sizes: Mapping[str, tuple[int, ...]],
    real: Arrays,
    largest_batch: int,
) -> tuple[Taken, list[str]]:
    """Random rows behind the real ones, which may be few; where the module refuses such, the real ones again."""
    items = len(next(iter(real.values())))
    random = random_examples(inputs, sizes, largest_batch)
    both = {name: np.concatenate([real[name], random[name]]) for name in call.names}
    taken = Taken(call, inputs, sizes, both, items, largest_batch > 0)
    try:
        run_call(module, call, taken.arrays(taken.usual, first=items))
    except Exception as error:  # the user's own code
        index = np.arange(max(largest_batch, 3, items)) % items
        only = replace(taken, examples={name: array[index] for name, array in real.items()}, real=len(index))
        return only, [f"it refuses random values between the example's extremes, and is proven on the example's alone: "
                      f"{one_line(error)}"]  # fmt: skip
    return taken, []


def ranges_told(taken: Taken) -> list[str]:
    """What was read from the values, and is not what an input without a range would have."""
    shown = [
        f"{tensor.name} {_between(tensor)}"
        for tensor in taken.inputs
        if (tensor.low, tensor.high) != default_range(tensor.dtype)
    ]
    return [f"values between the example's extremes are proven: {', '.join(shown)}"] if shown else []


def _between(tensor: Tensor) -> str:
    low, high = number(tensor.low), number(tensor.high)
    return f"only {low}" if low == high else f"{low} to {high}"


def number(value: float) -> str:
    """As a person writes it, and `--input` reads it."""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
