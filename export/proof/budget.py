"""The error budget: ONNX Runtime's error against float64, measured by PyTorch's own error against float64.

One absolute tolerance cannot judge all models: 1e-5 is careless for probabilities and hopeless for sums of thousands.
What float32 can give on a model is what PyTorch's float32 gives, so that is the measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conch.contracts.comparison import EXACT, TOLERANCES, Tolerances, compare, distance
from export.proof.subject import Subject
from training.tensors import Tensor, Tolerance

# Two correct float32 programs that add in another order differ in their errors by small factors; 4 covered every model
# and size seen here. The ulps are for outputs on which PyTorch happens to hit float64 exactly.
FACTOR = 4.0
ULPS = 8
# Where PyTorch's float32 keeps fewer than two digits, float64 runs another function (a branch taken otherwise, bits
# reinterpreted) or float32 means nothing: that is no measure for anything.
LARGEST_TORCH_ERROR = 1e-2

_AS_EXACT_AS = "as exact as "
AS_EXACT = f"{_AS_EXACT_AS}PyTorch"
WORSE = "worse, within tolerance"
WRONG = "wrong"


@dataclass(frozen=True)
class Errors:
    """What one run showed of one output, in the output's own unit."""

    onnx: float
    """Largest absolute error of ONNX Runtime to the reference."""
    torch: float
    """Largest absolute error of PyTorch's float32 to the reference; NaN where the reference is PyTorch's float32."""
    scale: float
    """Largest absolute value of the reference."""

    @property
    def usable(self) -> bool:
        """Whether PyTorch's own error can measure another one."""
        return bool(np.isfinite(self.torch)) and self.torch <= LARGEST_TORCH_ERROR * self.scale

    def allowed(self, dtype: str) -> float:
        """The largest error of ONNX Runtime that is still as exact as PyTorch; 0 for dtypes that are no floats."""
        kind = np.dtype(dtype)
        if kind.kind != "f":
            return 0.0
        ulps = ULPS * float(np.finfo(kind).eps) * self.scale
        return ulps + (FACTOR * self.torch if self.usable else 0.0)

    def excuses(self, error: float, dtype: str) -> bool:
        """Whether an error beyond the tolerance is one that PyTorch's float32 makes as well."""
        return self.usable and error <= self.allowed(dtype)

    def as_exact(self, dtype: str) -> bool:
        """Whether ONNX Runtime's error is what PyTorch's own error allows."""
        return self.onnx <= self.allowed(dtype) or (np.dtype(dtype).kind != "f" and self.onnx <= self.torch)


@dataclass(frozen=True)
class OutputBudget:
    """The verdict on one output over the whole grid; errors are in the output's own unit."""

    output: str
    verdict: str
    onnx_error: float
    torch_error: float
    allowed: float
    """The largest error that is as exact as PyTorch."""
    reference: str
    """"float64", or "float32" where the module has no float64 answer."""
    worst: str
    """The cell with the largest error, in words."""


def as_exact_as(called: str) -> str:
    """The verdict on an output that is as exact as the reference of that name."""
    return f"{_AS_EXACT_AS}{called}"


def is_as_exact(verdict: str) -> bool:
    """Whether that is the verdict, whatever the reference is called."""
    return verdict.startswith(_AS_EXACT_AS)


def tolerance(tensor: Tensor, own: Mapping[str, Tolerance] | None = None) -> tuple[float, float]:
    """Absolute and relative tolerance of an output: the recipe's `own` (`Served.tolerance`) where it gives one."""
    chosen = (own or {}).get(tensor.dtype)
    return (chosen.absolute, chosen.relative) if chosen else TOLERANCES.get(tensor.dtype, EXACT)


def tolerances(served: Subject, alone: Mapping[str, float] | None = None) -> Tolerances:
    """The tolerances in force by dtype, for the manifest.

    Args:
        served: the module.
        alone: by output, how far a row was from itself run alone in a proof that passed: where float32 is inexact, that
            may be more than the tolerance, and a server batches rows as they come.
    """
    found = {**TOLERANCES, **{dtype: (own.absolute, own.relative) for dtype, own in served.tolerance.items()}}
    return widened(found, {tensor.name: tensor.dtype for tensor in served.outputs}, alone or {})


def widened(allowed: Tolerances, outputs: Mapping[str, str], alone: Mapping[str, float]) -> Tolerances:
    """`allowed`, by dtype, where rows of the `outputs` (name -> dtype) were further from themselves run alone."""
    found = dict(allowed)
    for name, dtype in outputs.items():
        absolute, relative = found.get(dtype, EXACT)
        seen = alone.get(name, 0.0)
        if np.dtype(dtype).kind == "f" and seen > absolute:
            found[dtype] = (2 * seen, relative)
    return found


@dataclass(frozen=True)
class Judgement:
    """What one comparison showed of one output."""

    difference: float
    """Largest absolute difference to PyTorch; NaN where the shapes differ."""
    right: bool
    """Whether it is within the tolerance of PyTorch, or as exact as PyTorch is."""
    errors: Errors


def judge(
    got: np.ndarray, expected: np.ndarray, exact: np.ndarray | None, allowed: tuple[float, float], dtype: str
) -> Judgement:
    """Is `got` the right answer, where PyTorch's float32 says `expected` and float64 says `exact`?

    Args:
        got: ONNX Runtime's answer.
        expected: PyTorch's.
        exact: that of the module in float64; without, or of another shape, PyTorch's is the only reference.
        allowed: the tolerance, absolute and relative.
        dtype: the declared one, by NumPy's name.
    """
    difference, agrees = compare(got, expected, allowed)
    if got.shape != expected.shape:
        return Judgement(difference, False, Errors(np.nan, np.nan, np.nan))
    if exact is None or exact.shape != expected.shape:
        return Judgement(difference, agrees, Errors(difference, np.nan, largest(expected)))
    errors = Errors(distance(got, exact), distance(expected, exact), largest(exact))
    return Judgement(difference, agrees or errors.excuses(errors.onnx, dtype), errors)


def largest(array: np.ndarray) -> float:
    """Largest finite absolute value, 0 without one; 0 of text."""
    if array.dtype.kind not in "biuf":
        return 0.0
    finite = np.abs(array[np.isfinite(array)]).astype(np.float64) if array.size else array
    return float(finite.max()) if finite.size else 0.0
