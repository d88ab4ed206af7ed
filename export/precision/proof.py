"""The proof of a variant: it has the declared signature, its rows do not influence each other, its answers are numbers.

How far it departs from fp32 is recorded and not judged here: the recipe's score judges it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from export.conversion.convert import example_inputs
from export.proof.budget import tolerance
from export.proof.parity import grid_sizes
from export.proof.signature import check_signature
from serving.onnx_files.runtime_reason import runtime_reason
from training.score import Predict
from training.served import Served
from training.tensors import Tensor


@dataclass(frozen=True)
class VariantCell:
    """What one run of a variant showed of one output; the fields are those of a cell of the fp32 parity grid."""

    batch: int
    sizes: dict[str, int]
    output: str
    difference: float
    """Largest absolute difference to the fp32 file; NaN where the run failed."""
    alone: float
    """Largest absolute difference of a row to the same row run alone."""
    tolerance: tuple[float, float]
    """Absolute and relative, of `alone`: that of the fp32 grid."""
    reason: str = ""
    inputs: str = "real"


@dataclass(frozen=True)
class VariantProof:
    """All runs of a variant."""

    cells: tuple[VariantCell, ...]
    signature: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """What does not hold, a sentence each."""
        return [
            *self.signature,
            *(f"batch {cell.batch}, output {cell.output!r}: {cell.reason}" for cell in self.cells if cell.reason),
        ]

    def as_json(self) -> dict[str, Any]:
        """Laid out as the fp32 parity grid, NaN as null."""
        cells = [asdict(cell) | {"passed": not cell.reason} for cell in self.cells]
        for cell in cells:
            for key in ("difference", "alone"):
                cell[key] = cell[key] if np.isfinite(cell[key]) else None
        return {"passed": not self.failures, "signature": list(self.signature), "cells": cells}


def prove_variant(served: Served, variant_file: Path, fp32: Predict, variant: Predict) -> VariantProof:
    """Run every batch (1, 2, 3, 7 and the largest) with every size of the other axes on real inputs."""
    signature = tuple(check_signature(served, onnx.load(variant_file)))
    cells: list[VariantCell] = []
    for batch, sizes in grid_sizes(served):
        cells += _run(served, fp32, variant, batch, sizes)
    return VariantProof(tuple(cells), signature)


def _run(served: Served, fp32: Predict, variant: Predict, batch: int, sizes: dict[str, int]) -> Iterator[VariantCell]:
    inputs = example_inputs(served, batch, sizes)
    expected = fp32(inputs)
    try:
        got = variant(inputs)
        rows = [variant({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(batch)]
    except ConchError:
        raise
    except Exception as error:  # whatever ONNX Runtime raises is this cell's failure
        reason = f"the run failed: {runtime_reason(error)}"
        for tensor in served.outputs:
            yield VariantCell(batch, sizes, tensor.name, np.nan, np.nan, tolerance(tensor, served.tolerance), reason)
        return
    for tensor in served.outputs:
        alone = np.concatenate([outputs[tensor.name] for outputs in rows])
        allowed = tolerance(tensor, served.tolerance)
        yield _judge(tensor, allowed, batch, sizes, expected[tensor.name], got[tensor.name], alone)


def _judge(
    tensor: Tensor,
    allowed: tuple[float, float],
    batch: int,
    sizes: dict[str, int],
    expected: np.ndarray,
    got: np.ndarray,
    alone: np.ndarray,
) -> VariantCell:
    if got.shape != expected.shape:
        reason = f"shape is {list(got.shape)}, fp32's is {list(expected.shape)}"
        return VariantCell(batch, sizes, tensor.name, np.nan, np.nan, allowed, reason)
    difference, _ = compare(got, expected, allowed)
    alone_difference, agrees = compare(got, alone, allowed)
    reason = "" if agrees else f"a row differs by {alone_difference:.3g} from the same row run alone"
    if not np.isfinite(got.astype(np.float64)).all():
        reason = "an answer is not finite"
    return VariantCell(batch, sizes, tensor.name, difference, alone_difference, allowed, reason)
