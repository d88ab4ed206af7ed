"""The proof of a variant: it has the declared signature, its rows do not influence each other, its answers are numbers.

How far it departs from fp32 is recorded and not judged here: the gate's judge does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.comparison import EXACT, TOLERANCES, compare
from conch.contracts.errors import ConchError
from export.precision.original import Original, Run
from serving.onnx_files.runtime_reason import runtime_reason
from training.score import Predict

NOT_FINITE = "an answer is not finite"


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

    @property
    def told(self) -> str:
        """The reason, and where."""
        return f"batch {self.batch}, output {self.output!r}: {self.reason}"


@dataclass(frozen=True)
class VariantProof:
    """All runs of a variant."""

    cells: tuple[VariantCell, ...]
    signature: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """What does not hold, a sentence each."""
        return [*self.lasting, *self.overflows]

    @property
    def lasting(self) -> list[str]:
        """What is so however few layers are in a lower precision."""
        return [*self.signature, *(cell.told for cell in self.cells if cell.reason not in ("", NOT_FINITE))]

    @property
    def overflows(self) -> list[str]:
        """Where an answer is no number, and fp32's is."""
        return [cell.told for cell in self.cells if cell.reason == NOT_FINITE]

    def alone(self) -> dict[str, float]:
        """By output, the largest difference of a row to the same row run alone."""
        names = dict.fromkeys(cell.output for cell in self.cells)
        return {name: max(cell.alone for cell in self.cells if cell.output == name) for name in names}

    def as_json(self) -> dict[str, Any]:
        """Laid out as the fp32 parity grid, NaN as null."""
        cells = [asdict(cell) | {"passed": not cell.reason} for cell in self.cells]
        for cell in cells:
            for key in ("difference", "alone"):
                cell[key] = cell[key] if np.isfinite(cell[key]) else None
        return {"passed": not self.failures, "signature": list(self.signature), "cells": cells}


def prove_variant(original: Original, variant_file: Path, fp32: Predict, variant: Predict) -> VariantProof:
    """Run every batch (1, 2, 3, 7 and the largest) with every size of the other axes on real inputs."""
    signature = tuple(original.check(onnx.load(variant_file, load_external_data=False)))
    cells = [cell for run in original.runs() for cell in _run(original, fp32, variant, run)]
    return VariantProof(tuple(cells), signature)


def _run(original: Original, fp32: Predict, variant: Predict, run: Run) -> Iterator[VariantCell]:
    expected = fp32(run.inputs)
    try:
        got = variant(run.inputs)
        rows = [variant(row) for row in run.alone]
    except ConchError:
        raise
    except Exception as error:  # whatever ONNX Runtime raises is this cell's failure
        reason = f"the run failed: {runtime_reason(error)}"
        for name, allowed in original.tolerances.items():
            yield VariantCell(run.batch, run.sizes, name, np.nan, np.nan, allowed, reason)
        return
    for name, allowed in original.tolerances.items():
        alone = np.concatenate([outputs[name] for outputs in rows]) if rows else got[name]
        blank = VariantCell(run.batch, run.sizes, name, np.nan, np.nan, allowed)
        cell = _judge(blank, expected[name], got[name], alone)
        if cell.alone > 0 and cell.reason == _not_alone(cell) and _is_batch_rounding(variant, run, name, got, alone):
            cell = replace(cell, reason="")
        yield cell


def _judge(cell: VariantCell, expected: np.ndarray, got: np.ndarray, alone: np.ndarray) -> VariantCell:
    if got.shape != expected.shape:
        return replace(cell, reason=f"shape is {list(got.shape)}, fp32's is {list(expected.shape)}")
    difference, _ = compare(got, expected, cell.tolerance)
    alone_difference, agrees = compare(got, alone, cell.tolerance)
    cell = replace(cell, difference=difference, alone=alone_difference)
    if got.dtype.kind == "f" and (np.isfinite(expected) & ~np.isfinite(got)).any():
        return replace(cell, reason=NOT_FINITE)
    return cell if agrees else replace(cell, reason=_not_alone(cell))


def _not_alone(cell: VariantCell) -> str:
    return f"a row differs by {cell.alone:.3g} from the same row run alone"


def _is_batch_rounding(variant: Predict, run: Run, name: str, got: Mapping[str, np.ndarray], alone: np.ndarray) -> bool:
    """Whether the row that is furthest from itself alone depends on the number of rows, and not on what they hold.

    Kernels add in another order for other numbers of rows, and what is then rounded to 8 bits falls to another step.
    The row among copies of itself is computed in that order too, with neighbours that cannot give it anything.
    """
    far = np.abs(got[name].astype(np.float64) - alone).reshape(run.batch, -1)
    row = int(np.nanargmax(far.max(axis=1)))
    among_itself = variant({key: np.repeat(array[row : row + 1], run.batch, 0) for key, array in run.inputs.items()})
    return compare(among_itself[name][row], got[name][row], TOLERANCES.get(got[name].dtype.name, EXACT)).agrees
