"""The parity grid: ONNX Runtime against PyTorch on batches, lengths and inputs that the export never saw.

Every cell is one run. It compares each output with PyTorch's, each row of the batch with the same row run alone, and
each shape with the declared one. A batch whose rows influence each other, an axis frozen at the example's size or a
state that leaks fails here, where a single example would have passed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.convert import example_inputs
from export.runtime import onnx_predict
from training.predict import torch_predict
from training.recipe import Predict, Served, Tensor

BATCHES = (1, 2, 3, 7)

# By dtype: |got - expected| <= absolute + relative * |expected|. Sums in another order move float32 by some 1e-7 of
# the largest term; a uint8 that was rounded from x.5 may fall to either side.
TOLERANCE: dict[str, tuple[float, float]] = {
    "float64": (1e-9, 1e-7),
    "float32": (1e-5, 1e-4),
    "float16": (1e-3, 1e-2),
    "uint8": (1, 0),
}
EXACT = (0.0, 0.0)


@dataclass(frozen=True)
class Cell:
    """What one run of the grid showed of one output."""

    batch: int
    sizes: dict[str, int]
    inputs: str
    """"real" held-out rows, or all "low" or "high"."""
    output: str
    difference: float
    """Largest absolute difference to PyTorch; NaN where the shapes differ or the run failed."""
    alone: float
    """Largest absolute difference of a row to the same row run alone."""
    tolerance: tuple[float, float]
    passed: bool
    reason: str = ""

    @property
    def where(self) -> str:
        """The cell in words."""
        sizes = "".join(f", {name} {size}" for name, size in self.sizes.items())
        return f"batch {self.batch}{sizes}, {self.inputs} inputs, output {self.output!r}"


@dataclass(frozen=True)
class Grid:
    """All cells, and what the graph's own signature got wrong."""

    cells: tuple[Cell, ...]
    signature: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every cell is within tolerance and the signature is as declared."""
        return not self.signature and bool(self.cells) and all(cell.passed for cell in self.cells)

    @property
    def failures(self) -> list[str]:
        """What failed, a sentence each."""
        return [*self.signature, *(f"{cell.where}: {cell.reason}" for cell in self.cells if not cell.passed)]

    def worst(self) -> float:
        """The largest difference to PyTorch over all cells."""
        return max(cell.difference for cell in self.cells)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, NaN as null."""
        cells = [asdict(cell) for cell in self.cells]
        for cell in cells:
            for key in ("difference", "alone"):
                cell[key] = cell[key] if np.isfinite(cell[key]) else None
        return {"passed": self.passed, "signature": list(self.signature), "cells": cells}


def parity_grid(served: Served, onnx_file: Path) -> Grid:
    """Run every cell; a failing run fails its cells and the others still run."""
    signature = tuple(check_signature(served, onnx.load(onnx_file)))
    reference, candidate = torch_predict(served), onnx_predict(onnx_file)
    cells: list[Cell] = []
    for batch, sizes in grid_sizes(served):
        for kind in ("real", "low", "high"):
            inputs = _inputs(served, batch, sizes, kind)
            cells += _run_cell(served, reference, candidate, inputs, batch, sizes, kind)
    return Grid(tuple(cells), signature)


def grid_sizes(served: Served) -> Iterator[tuple[int, dict[str, int]]]:
    """Every batch with every combination of the other symbolic axes' sizes."""
    batches = sorted({batch for batch in (*BATCHES, served.largest_batch) if batch <= served.largest_batch})
    names = list(served.sizes)
    for batch in batches:
        for combination in itertools.product(*served.sizes.values()):
            yield batch, dict(zip(names, combination, strict=True))


def check_signature(served: Served, model: onnx.ModelProto) -> Iterator[str]:
    """Compare names, dtypes, shapes and symbolic axes of the graph with the declared ones; a sentence a difference."""
    for kind, declared, found in (
        ("input", served.inputs, model.graph.input),
        ("output", served.outputs, model.graph.output),
    ):
        by_name = {value.name: value for value in found}
        if list(by_name) != [tensor.name for tensor in declared]:
            yield f"{kind}s are {list(by_name)}, declared are {[tensor.name for tensor in declared]}"
            continue
        for tensor in declared:
            yield from _check_tensor(kind, tensor, by_name[tensor.name])


def _check_tensor(kind: str, tensor: Tensor, value: onnx.ValueInfoProto) -> Iterator[str]:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    if dtype != tensor.dtype:
        yield f"{kind} {tensor.name!r} is {dtype}, declared is {tensor.dtype}"
    dims = value.type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims)
    if shape != tensor.shape:
        frozen = "".join(
            f"; axis {axis} ({want}) is frozen at {got}"
            for axis, (got, want) in enumerate(zip(shape, tensor.shape, strict=False))
            if isinstance(want, str) and isinstance(got, int)
        )
        yield f"{kind} {tensor.name!r} has shape {list(shape)}, declared is {list(tensor.shape)}{frozen}"


def _inputs(served: Served, batch: int, sizes: dict[str, int], kind: str) -> dict[str, np.ndarray]:
    real = example_inputs(served, batch, sizes)
    if kind == "real":
        return real
    bounds = {tensor.name: tensor.low if kind == "low" else tensor.high for tensor in served.inputs}
    return {name: np.full_like(array, bounds[name]) for name, array in real.items()}


def _run_cell(
    served: Served,
    reference: Predict,
    candidate: Predict,
    inputs: dict[str, np.ndarray],
    batch: int,
    sizes: dict[str, int],
    kind: str,
) -> Iterator[Cell]:
    expected = reference(inputs)
    try:
        got = candidate(inputs)
        # Rows that are all alike prove nothing against each other, so the first stands for them.
        rows = range(batch) if kind == "real" else range(1)
        alone = [candidate({name: array[row : row + 1] for name, array in inputs.items()}) for row in rows]
    except Exception as error:  # whatever ONNX Runtime raises is this cell's failure
        reason = f"the run failed: {' '.join(str(error).split())[:300]}"
        for tensor in served.outputs:
            yield Cell(batch, sizes, kind, tensor.name, np.nan, np.nan, tolerance(tensor), False, reason)
        return
    for tensor in served.outputs:
        name = tensor.name
        rows_alone = np.concatenate([outputs[name] for outputs in alone])
        yield _judge(tensor, batch, sizes, kind, expected[name], got[name], rows_alone)


def _judge(
    tensor: Tensor,
    batch: int,
    sizes: dict[str, int],
    kind: str,
    expected: np.ndarray,
    got: np.ndarray,
    alone: np.ndarray,
) -> Cell:
    allowed = tolerance(tensor)
    if got.shape != expected.shape:
        reason = f"shape is {list(got.shape)}, PyTorch's is {list(expected.shape)}"
        return Cell(batch, sizes, kind, tensor.name, np.nan, np.nan, allowed, False, reason)
    difference, agrees = compare(got, expected, allowed)
    alone_difference, alone_agrees = compare(got[: len(alone)], alone, allowed)
    reasons = []
    if not agrees:
        reasons.append(f"differs from PyTorch by {difference:.3g}")
    if not alone_agrees:
        reasons.append(f"a row differs by {alone_difference:.3g} from the same row run alone")
    reason = "; ".join(reasons)
    return Cell(batch, sizes, kind, tensor.name, difference, alone_difference, allowed, not reasons, reason)


def tolerance(tensor: Tensor) -> tuple[float, float]:
    """Absolute and relative tolerance of an output."""
    return TOLERANCE.get(tensor.dtype, EXACT)


def compare(got: np.ndarray, expected: np.ndarray, allowed: tuple[float, float]) -> tuple[float, bool]:
    """Largest absolute difference, and whether every element is within `allowed` (absolute, relative).

    NaN agrees with NaN and an infinity with itself, as PyTorch's answer is the reference even where it is no number.
    """
    if got.shape != expected.shape:
        return np.nan, False
    if got.size == 0:
        return 0.0, True
    a, b = got.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
        within = same | (difference <= allowed[0] + allowed[1] * np.abs(b))
    return float(np.max(difference)), bool(within.all())
