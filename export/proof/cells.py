"""What the parity grid showed: a cell a run and output, and all cells together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from export.proof.budget import OutputBudget

EXAMPLES = ("real", "random")
"""Inputs that a client may send; "low" and "high" are made up."""


@dataclass(frozen=True)
class Cell:
    """What one run of the grid showed of one output."""

    batch: int
    sizes: dict[str, int]
    inputs: str
    """"real" held-out rows, "random" ones within the range where there are none, or all "low" or "high"."""
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
    elements: int = 0
    ambiguous: int = 0
    """So many of the elements have no single answer in PyTorch (`ambiguity.py`); they are not judged."""
    item: int = 0
    """Which of the examples of its kind: of a module without batches a run has one."""

    @property
    def proves(self) -> bool:
        """Whether it judged anything that a client may ask for."""
        return self.inputs in EXAMPLES and self.ambiguous < self.elements

    @property
    def left_out(self) -> str:
        """What of it was not judged, and why."""
        return (
            f"{self.ambiguous} of {self.elements} values have no single answer in PyTorch (ties, rounding, or "
            "attention over nothing)"
        )

    @property
    def where(self) -> str:
        """The cell in words."""
        return f"{where(self.batch, self.sizes, self.inputs, self.item)}, output {self.output!r}"


def where(batch: int, sizes: Mapping[str, int], inputs: str, item: int) -> str:
    """A run in words."""
    return f"batch {batch}{''.join(f', {name} {size}' for name, size in sizes.items())}, {label(inputs, item)} inputs"


def label(inputs: str, item: int) -> str:
    """The kind of inputs, with its number where it is not the first."""
    return f"{inputs}{f' {item + 1}' if item else ''}"


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
    refused: tuple[str, ...] = ()
    """Runs that the reference itself refuses, a sentence each: they are no cells."""
    reference: str = "PyTorch"
    """Who says what is right."""
    uncovered: tuple[str, ...] = ()
    """What was not run, for want of time or of a reference, a sentence each."""
    undecided: tuple[str, ...] = ()
    """Outputs that were the same on all made-up examples: another answer could not be told from the right one."""

    @property
    def passed(self) -> bool:
        """Whether every cell is within tolerance, each output is proven by some, and the signature is as declared."""
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """What failed, a sentence each."""
        return [*self.wrong, *(self.unproven if all(cell.passed for cell in self.cells) else ())]

    @property
    def wrong(self) -> list[str]:
        """What is not right, a sentence each."""
        return [*self.signature, *(f"{cell.where}: {cell.reason}" for cell in self.cells if not cell.passed)]

    @property
    def unproven(self) -> list[str]:
        """The outputs of which nothing was judged, a sentence each."""
        shown = {cell.output for cell in self.cells if cell.proves}
        why = [*self.refused[:1], *(f"{cell.where}: {cell.left_out}" for cell in self.cells if cell.ambiguous)]
        return [
            f"output {entry.output!r} is not proven: no run on real or random inputs has a single right answer"
            + (f" ({why[0]})" if why else "; it has no elements")
            for entry in self.budget
            if entry.output not in shown
        ]

    def left_out(self) -> list[str]:
        """What was not judged, a sentence each."""
        ambiguous = [f"{cell.where}: {cell.left_out}" for cell in self.cells if cell.ambiguous]
        return [*self.uncovered, *self.undecided_said(), *self.refused, *ambiguous]

    def undecided_said(self) -> list[str]:
        """Of each output that made-up inputs do not decide, a sentence."""
        return [
            f"output {name!r} is the same for all made-up inputs, so that a wrong one could not be told from it: give "
            "real ones (--inputs-from), or a range that means something"
            for name in self.undecided
        ]

    def worst(self) -> float:
        """The largest difference to PyTorch over all cells."""
        return max(cell.difference for cell in self.cells)

    def alone(self) -> dict[str, float]:
        """By output, the largest difference of a row to the same row run alone."""
        return {
            entry.output: max((cell.alone for cell in self.cells if cell.output == entry.output), default=0.0)
            for entry in self.budget
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Grid:
        """What `as_json` gave; fields that an older version did not write are as if nothing was found."""
        return cls(
            tuple(Cell(**_numbers(cell, *_CELL_NUMBERS)) for cell in kept["cells"]),
            tuple(kept.get("signature", ())),
            tuple(OutputBudget(**_numbers(entry, *_BUDGET_NUMBERS)) for entry in kept.get("budget", ())),
            kept.get("no_float64", ""),
            kept.get("tolerance_reasons", {}),
            tuple(kept.get("refused", ())),
            kept.get("reference", "PyTorch"),
            tuple(kept.get("uncovered", ())),
            tuple(kept.get("undecided", ())),
        )

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, NaN as null."""
        cells = [asdict(cell) for cell in self.cells]
        for cell in cells:
            _finite_or_null(cell, *_CELL_NUMBERS)
        budget = [asdict(entry) for entry in self.budget]
        for entry in budget:
            _finite_or_null(entry, *_BUDGET_NUMBERS)
        return {
            "passed": self.passed,
            "signature": list(self.signature),
            "budget": budget,
            "no_float64": self.no_float64,
            "tolerance_reasons": dict(self.tolerance_reasons),
            "refused": list(self.refused),
            "reference": self.reference,
            "uncovered": list(self.uncovered),
            "undecided": list(self.undecided),
            "cells": cells,
        }


_CELL_NUMBERS = ("difference", "alone", "error", "torch_error", "scale")
_BUDGET_NUMBERS = ("onnx_error", "torch_error", "allowed")


def _numbers(entry: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {**entry, **{key: np.nan for key in keys if entry.get(key) is None}}


def _finite_or_null(entry: dict[str, Any], *keys: str) -> None:
    for key in keys:
        entry[key] = entry[key] if np.isfinite(entry[key]) else None
