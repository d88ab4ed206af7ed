"""What a bare module takes: its call, its inputs, the sizes of their open axes, and values to run it on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.modules.bfloat16 import WAY_OUT, holds_bfloat16
from export.modules.call import Call
from export.modules.module_values import Arrays
from training.predict import own_tensors, slow_path
from training.tensors import Tensor

ROWS = "rows"
"""The name of an axis that was the batch, where the module is served without."""
ROWS_SIZES = (1, 2, 3)
"""The sizes of it that the proof runs, beside the example's."""


@dataclass(frozen=True)
class Taken:
    """What a module takes, and values to run it on."""

    call: Call
    inputs: tuple[Tensor, ...]
    """In the order of the call's names."""
    sizes: Mapping[str, tuple[int, ...]]
    """Of each open axis besides the batch, ascending."""
    examples: Arrays
    """By input name, axis 0 the item, open axes at their largest size."""
    real: int
    """So many of the examples, the first, are real; the others are random."""
    batched: bool
    """Whether axis 0 of every input is the batch."""

    @property
    def has_random(self) -> bool:
        """Whether some of the examples are random."""
        return self.real < len(next(iter(self.examples.values())))

    @property
    def usual(self) -> dict[str, int]:
        """The largest size of each open axis, and a batch of 2."""
        return ({"batch": 2} if self.batched else {}) | {axis: sizes[-1] for axis, sizes in self.sizes.items()}

    def arrays(self, extent: Mapping[str, int], first: int = 0) -> list[np.ndarray]:
        """The examples from item `first` on, open axes and the batch cut to `extent`."""
        cut = []
        for tensor in self.inputs:
            items = self.examples[tensor.name][first:]
            array = items if self.batched else np.asarray(items[0])
            places = tuple(slice(extent[size]) if isinstance(size, str) else slice(None) for size in tensor.shape)
            cut.append(array[places])
        return cut


def run_call(module: torch.nn.Module, call: Call, arrays: Iterable[np.ndarray]) -> Any:
    """What the module returns, run as `training.predict.run_module` runs it."""
    args, kwargs = call.arguments(own_tensors(arrays))
    with slow_path(), torch.inference_mode():
        return module(*args, **kwargs)


def run_taken(module: torch.nn.Module, taken: Taken, extent: Mapping[str, int], first: int = 0) -> Any:
    """What the module returns on its examples.

    Raises:
        ConchError: it fails, on what and why.
    """
    arrays = taken.arrays(extent, first)
    shown = ", ".join(f"{t.name} {t.dtype} {list(a.shape)}" for t, a in zip(taken.inputs, arrays, strict=True))
    try:
        return run_call(module, taken.call, arrays)
    except Exception as error:  # the user's own code
        advice = WAY_OUT if holds_bfloat16(module) else "do the inputs have the right order, axes and range?"
        raise ConchError(f"the module fails on {shown}: {one_line(error)}; {advice}") from error


def first_that_runs(module: torch.nn.Module, calls: Iterable[Call], arrays: Sequence[np.ndarray]) -> Call | None:
    """The first of the calls that the module runs."""
    for call in calls:
        try:
            with warnings.catch_warnings(
                action="ignore"
            ):  # of a wrong way they confuse, of the right one they come again
                run_call(module, call, arrays)
        except Exception:  # the user's own code, called in a way that was not meant
            continue
        return call
    return None


def one_line(error: Exception) -> str:
    """Its kind and the beginning of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def without_batches(taken: Taken, sizes: tuple[int, ...]) -> Taken:
    """The same with the batch as an open axis like others; or, where `sizes` are one, fixed."""
    largest = sizes[-1]
    axis = ROWS if len(sizes) > 1 else largest
    real = -(-taken.real // largest)
    names = [tensor.name for tensor in taken.inputs]
    items = {name: _grouped(taken.examples[name], taken.real, largest) for name in names}
    inputs = tuple(replace(tensor, shape=(axis, *tensor.shape[1:])) for tensor in taken.inputs)
    opened = dict(taken.sizes) | ({ROWS: sizes} if len(sizes) > 1 else {})
    return replace(taken, inputs=inputs, sizes=opened, examples=items, real=real, batched=False)


def _grouped(rows: np.ndarray, real: int, size: int) -> np.ndarray:
    """Rows as items of `size` rows each: the real ones among themselves, repeated where some lack."""
    parts = []
    for part in (rows[:real], rows[real:]):
        if len(part):
            index = np.arange(-(-len(part) // size) * size) % len(part)
            parts.append(part[index].reshape(-1, size, *part.shape[1:]))
    return np.concatenate(parts)
