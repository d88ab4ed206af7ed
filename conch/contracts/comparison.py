"""Is an answer the right one? The one comparison, and the one table of what may differ.

Used where an ONNX file is proven against PyTorch, where a file of unknown origin is shown to repeat itself, and where a
server's answers are held against golden ones: what one of them lets pass, the others do not refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Tolerances = Mapping[str, tuple[float, float]]
"""By NumPy's name of a dtype: |got - expected| <= absolute + relative * |expected|. What is not named must be equal."""

TOLERANCES: Tolerances = {
    "float64": (1e-9, 1e-7),
    # Sums in another order move float32 by some 1e-7 of the largest term.
    "float32": (1e-5, 1e-4),
    "float16": (1e-3, 1e-2),
    # A value that was rounded from x.5 may fall to either side.
    "uint8": (1, 0),
    "int8": (1, 0),
}
"""In force where nobody gives a reason for others. Each version's manifest says which it is held to."""
EXACT = (0.0, 0.0)


class Comparison(NamedTuple):
    """What two arrays came to."""

    difference: float
    """Largest absolute difference: NaN where the shapes differ or one has a number where the other has none."""
    agrees: bool
    """Whether every element is within what was allowed."""


def compare(got: np.ndarray, expected: np.ndarray, allowed: tuple[float, float] = EXACT) -> Comparison:
    """Hold `got` against `expected`, element by element, within `allowed` (absolute, relative).

    NaN agrees with NaN and an infinity with itself, and with nothing else: the expected answer is the reference even
    where it is no number. Text, booleans and whatever is no number has to be equal.
    """
    if got.shape != expected.shape:
        return Comparison(np.nan, False)
    if got.size == 0:
        return Comparison(0.0, True)
    agrees = bool(agreement(got, expected, allowed).all())
    if not _are_numbers(got, expected):
        return Comparison(0.0 if agrees else np.inf, agrees)
    return Comparison(distance(got, expected), agrees)


def agreement(got: np.ndarray, expected: np.ndarray, allowed: tuple[float, float] = EXACT) -> np.ndarray:
    """Which elements `compare` lets pass: booleans of the one shape that both have."""
    if not _are_numbers(got, expected):
        return np.asarray(got == expected)
    found = differences(got, expected)
    absolute, relative = allowed
    with np.errstate(over="ignore", invalid="ignore"):
        bound = absolute + relative * np.abs(expected.astype(np.float64))
    # The bound of an infinity is infinite: what is infinitely far off is wrong whatever the bound.
    return (found == 0) | (np.isfinite(found) & (found <= bound))


def _are_numbers(*arrays: np.ndarray) -> bool:
    return all(array.dtype.kind in "fiu" for array in arrays)


def differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute differences [same shape] as float64; 0 for two NaN and for equal infinities, NaN for one NaN.

    Integers are subtracted as such, so that 2^60 and 2^60 + 1 are not the same.
    """
    if one.dtype.kind in "iu" and other.dtype.kind in "iu":
        # Python's integers have no bounds.
        if one.dtype != other.dtype:
            return np.abs(one.astype(object) - other.astype(object)).astype(np.float64)
        # Modulo 2^64 the difference is right for every pair of 64-bit integers.
        unsigned = np.maximum(one, other).astype(np.uint64) - np.minimum(one, other).astype(np.uint64)
        return unsigned.astype(np.float64)
    a, b = one.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.abs(a - b))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest of `differences`, 0 where there is no element."""
    return float(np.max(differences(one, other))) if one.size else 0.0
