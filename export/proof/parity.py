"""The parity grid: ONNX Runtime against PyTorch on batches, lengths and inputs that the export never saw.

Every cell is one run. It compares each output with PyTorch's and with float64's, each row of the batch with the same
row run alone, and each shape with the declared one. A cell passes within the tolerance of PyTorch, or where ONNX
Runtime is as exact as PyTorch is (`budget.py`). A batch whose rows influence each other, an axis frozen at the
example's size or a state that leaks fails here, where a single example would have passed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.comparison import compare
from export.conversion.convert import example_inputs
from export.proof.budget import AS_EXACT, WORSE, WRONG, Errors, OutputBudget, measure, tolerance
from export.proof.float64 import NoFloat64Error, float64_predict
from export.proof.runtime import onnx_predict
from training.predict import torch_predict
from training.recipe import Predict, Served, Tensor

BATCHES = (1, 2, 3, 7)
INPUT_KINDS = ("real", "low", "high")


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
    error: float = np.nan
    """Largest absolute error of ONNX Runtime to the float64 reference; NaN without one."""
    torch_error: float = np.nan
    """Largest absolute error of PyTorch's float32 to the same."""
    scale: float = np.nan
    """Largest absolute value of the reference."""

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
    budget: tuple[OutputBudget, ...] = ()
    """The verdict on each output, in their order."""
    no_float64: str = ""
    """Why there is no float64 reference; empty where there is one."""
    tolerance_reasons: Mapping[str, str] = field(default_factory=dict)
    """By dtype: why the recipe asks for another tolerance than the documented one."""

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
            _finite_or_null(cell, "difference", "alone", "error", "torch_error", "scale")
        budget = [asdict(entry) for entry in self.budget]
        for entry in budget:
            _finite_or_null(entry, "onnx_error", "torch_error", "allowed")
        return {
            "passed": self.passed,
            "signature": list(self.signature),
            "budget": budget,
            "no_float64": self.no_float64,
            "tolerance_reasons": dict(self.tolerance_reasons),
            "cells": cells,
        }


def _finite_or_null(entry: dict[str, Any], *keys: str) -> None:
    for key in keys:
        entry[key] = entry[key] if np.isfinite(entry[key]) else None


def parity_grid(served: Served, onnx_file: Path, predict: Predict | None = None) -> Grid:
    """Run every cell; a failing run fails its cells and the others still run.

    Args:
        served: the module, on the CPU.
        onnx_file: what was exported of it.
        predict: what runs the file; without, ONNX Runtime on the CPU.
    """
    signature = tuple(check_signature(served, onnx.load(onnx_file, load_external_data=False)))
    reference, no_float64 = _float64(served)
    programs = _Programs(torch_predict(served), predict or onnx_predict(onnx_file))
    cells: list[Cell] = []
    exact: dict[tuple[str, tuple[int, ...]], dict[str, np.ndarray]] = {}
    for batch, sizes in grid_sizes(served):
        for kind in INPUT_KINDS:
            # Float64 is slow and rows are independent (each is compared with itself alone): the largest batch, first
            # in the grid, has the rows of all others.
            key = (kind, tuple(sizes.values()))
            inputs = cell_inputs(served, batch, sizes, kind)
            if reference and key not in exact:
                exact[key] = reference(inputs if kind == "real" else {name: rows[:1] for name, rows in inputs.items()})
            rows = {name: _rows(array, batch) for name, array in exact.get(key, {}).items()}
            cells += _run_cell(served, programs, inputs, rows, batch, sizes, kind)
    cells.sort(key=lambda cell: cell.batch)
    budget = tuple(
        _verdict(tensor, [cell for cell in cells if cell.output == tensor.name]) for tensor in served.outputs
    )
    reasons = {dtype: own.reason for dtype, own in served.tolerance.items()}
    return Grid(tuple(cells), signature, budget, no_float64, reasons)


@dataclass(frozen=True)
class _Programs:
    torch: Predict
    onnx: Predict


def _float64(served: Served) -> tuple[Predict | None, str]:
    try:
        return float64_predict(served), ""
    except NoFloat64Error as error:
        return None, str(error)


def _rows(array: np.ndarray, batch: int) -> np.ndarray:
    """The first `batch` rows; one row stands for as many that are alike."""
    return np.repeat(array, batch, 0) if len(array) == 1 else array[:batch]


def _verdict(tensor: Tensor, cells: list[Cell]) -> OutputBudget:
    """Judge an output by its largest errors over all cells, each relative to the values of its own cell."""
    measured = [cell for cell in cells if np.isfinite(cell.error)]
    if not measured:
        return OutputBudget(tensor.name, WRONG, np.nan, np.nan, np.nan, "float32", cells[0].where)
    worst = max(measured, key=lambda cell: cell.error / (cell.scale or 1.0))
    # PyTorch's worst in the unit of that cell: a lucky cell of PyTorch's does not make ONNX Runtime's worse.
    relative = max((cell.torch_error / (cell.scale or 1.0) for cell in measured), default=np.nan)
    errors = Errors(worst.error, relative * (worst.scale or 1.0), worst.scale)
    verdict = AS_EXACT if errors.as_exact(tensor.dtype) else WORSE
    if not all(cell.passed for cell in cells):
        verdict = WRONG
    known = bool(np.isfinite(errors.torch))
    return OutputBudget(
        tensor.name, verdict, errors.onnx, errors.torch, errors.allowed(tensor.dtype),
        "float64" if known else "float32", worst.where,
    )  # fmt: skip


def grid_sizes(served: Served) -> Iterator[tuple[int, dict[str, int]]]:
    """Every batch, the largest first, with every combination of the other symbolic axes' sizes."""
    batches = sorted({batch for batch in (*BATCHES, served.largest_batch) if batch <= served.largest_batch})[::-1]
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


def cell_inputs(served: Served, batch: int, sizes: dict[str, int], kind: str) -> dict[str, np.ndarray]:
    """Inputs of a cell: real rows, or arrays of nothing but the lowest or highest value."""
    real = example_inputs(served, batch, sizes)
    if kind == "real":
        return real
    bounds = {tensor.name: tensor.low if kind == "low" else tensor.high for tensor in served.inputs}
    return {name: np.full_like(array, bounds[name]) for name, array in real.items()}


def _run_cell(
    served: Served,
    programs: _Programs,
    inputs: dict[str, np.ndarray],
    exact: dict[str, np.ndarray],
    batch: int,
    sizes: dict[str, int],
    kind: str,
) -> Iterator[Cell]:
    expected = programs.torch(inputs)
    try:
        got = programs.onnx(inputs)
        # Rows that are all alike prove nothing against each other, so the first stands for them.
        rows = range(batch) if kind == "real" else range(1)
        alone = [programs.onnx({name: array[row : row + 1] for name, array in inputs.items()}) for row in rows]
    except Exception as error:  # whatever ONNX Runtime raises is this cell's failure
        reason = f"the run failed: {' '.join(str(error).split())[:300]}"
        for tensor in served.outputs:
            yield Cell(
                batch, sizes, kind, tensor.name, np.nan, np.nan, tolerance(tensor, served.tolerance), False, reason
            )
        return
    for tensor in served.outputs:
        name = tensor.name
        cell = Cell(batch, sizes, kind, name, np.nan, np.nan, tolerance(tensor, served.tolerance), False)
        yield _judge(cell, tensor, got[name], expected[name], exact.get(name), [outputs[name] for outputs in alone])


def _judge(
    cell: Cell,
    tensor: Tensor,
    got: np.ndarray,
    expected: np.ndarray,
    exact: np.ndarray | None,
    alone: list[np.ndarray],
) -> Cell:
    """The cell with its differences and errors, and what is wrong with them."""
    if got.shape != expected.shape:
        return replace(cell, reason=f"shape is {list(got.shape)}, PyTorch's is {list(expected.shape)}")
    sizes = {"batch": cell.batch, **cell.sizes}
    # A name that no input has stands for any size: half of another axis has no name of its own.
    if len(got.shape) != len(tensor.shape) or any(
        size != (sizes.get(want, size) if isinstance(want, str) else want)
        for size, want in zip(got.shape, tensor.shape, strict=True)
    ):
        return replace(cell, reason=f"shape is {list(got.shape)}, declared is {list(tensor.shape)}")
    errors = measure(got, expected, exact)
    difference, agrees = compare(got, expected, cell.tolerance)
    rows = np.concatenate(alone)
    alone_difference, alone_agrees = compare(got[: len(rows)], rows, cell.tolerance)
    reasons = []
    if not agrees and not errors.excuses(errors.onnx, tensor.dtype):
        reasons.append(f"differs from PyTorch by {difference:.3g}")
    # Two runs of a row may each be off by what is allowed.
    if not alone_agrees and not errors.excuses(alone_difference / 2, tensor.dtype):
        reasons.append(f"a row differs by {alone_difference:.3g} from the same row run alone")
    return replace(
        cell, difference=difference, alone=alone_difference, passed=not reasons, reason="; ".join(reasons),
        error=errors.onnx, torch_error=errors.torch, scale=errors.scale,
    )  # fmt: skip
