"""The proven fp32 file that variants are made of, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from export.conversion.convert import example_inputs
from export.proof.budget import tolerance
from export.proof.parity import grid_sizes
from export.proof.signature import check_signature
from training.served import Served

Arrays = dict[str, np.ndarray]

ITEMS = 8
"""So many items of a model without a batch axis are run in the proof."""
RECIPE_CALIBRATION = "give them in the recipe: Served(..., calibration={name: array of training inputs})"


@dataclass(frozen=True)
class Run:
    """One set of inputs that every variant has to run on."""

    batch: int
    sizes: dict[str, int]
    """Of symbolic axes besides the batch."""
    inputs: Arrays
    alone: tuple[Arrays, ...]
    """Each row by itself; none for a model without a batch axis."""


@dataclass(frozen=True)
class Original:
    """A proven fp32 file."""

    name: str
    fp32: Path
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    """Name to NumPy's name of the dtype."""
    largest_batch: int
    """0 for a file without a batch axis: each item is a run of its own."""
    examples: Mapping[str, np.ndarray]
    """By input, axis 0 the item: what variants are proven on."""
    calibration: Mapping[str, np.ndarray]
    """The same for the ranges of activations, other items than those that judge; empty where there are none."""
    how_to_calibrate: str
    """What to do where there are none."""
    runs: Callable[[], Iterator[Run]]
    check: Callable[[onnx.ModelProto], Iterable[str]]
    """What a variant's inputs and outputs have otherwise than declared, a sentence each."""
    tolerances: Mapping[str, tuple[float, float]]
    """By output, absolute and relative: of a row to the same row alone."""

    def feeds(self, arrays: Mapping[str, np.ndarray], most: int | None = None) -> Iterator[Arrays]:
        """All items of `arrays` as they are run: in batches of at most `most` rows, the largest batch without."""
        items = len(next(iter(arrays.values())))
        rows = min(most or self.largest_batch, self.largest_batch)
        for start in range(0, items, rows or 1):
            yield taken_from(arrays, slice(start, start + rows) if rows else start)

    def timed(self, rows: int) -> Arrays:
        """Inputs of `rows` rows, or of one item without a batch axis."""
        return next(self.feeds(self.calibration or self.examples, rows))


def original_of(
    served: Served, fp32: Path, calibration: Mapping[str, np.ndarray], how_to_calibrate: str = RECIPE_CALIBRATION
) -> Original:
    """The file that was converted from `served`."""
    names = tuple(tensor.name for tensor in served.inputs)

    def runs() -> Iterator[Run]:
        for batch, sizes in grid_sizes(served):
            if served.batched:
                yield batch_run(batch, example_inputs(served, batch, sizes), sizes)
                continue
            items = example_inputs(served, min(len(next(iter(served.examples.values()))), ITEMS), sizes)
            for item in range(len(next(iter(items.values())))):
                yield Run(1, sizes, taken_from(items, item), ())

    return Original(
        name=served.name, fp32=fp32, inputs=names, outputs={tensor.name: tensor.dtype for tensor in served.outputs},
        largest_batch=served.largest_batch,
        examples=served.examples, calibration=calibration, how_to_calibrate=how_to_calibrate, runs=runs,
        check=lambda model: check_signature(served, model),
        tolerances={tensor.name: tolerance(tensor, served.tolerance) for tensor in served.outputs},
    )  # fmt: skip


def taken_from(items: Mapping[str, np.ndarray], part: slice | int) -> Arrays:
    """Some of the items, or one without the axis that counts them; that may be a number or a text."""
    # Not ascontiguousarray: it makes an axis of a number.
    return {name: np.asarray(array[part], array.dtype, order="C") for name, array in items.items()}


def batch_run(batch: int, inputs: Arrays, sizes: dict[str, int]) -> Run:
    """A batch of `inputs`, and its rows."""
    alone = tuple({name: array[row : row + 1] for name, array in inputs.items()} for row in range(batch))
    return Run(batch, sizes, inputs, alone)
