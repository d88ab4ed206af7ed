"""How contract 1 judges a model: the function that is asked, the figures, and what may be lost of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Predict = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Named input arrays to named output arrays; any number of rows (axis 0), the same number in every array."""


@dataclass(frozen=True)
class Metric:
    """One figure of a score."""

    name: str
    value: float
    unit: str = ""
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        """A value of NumPy or torch is a number like any other, and one that JSON can hold."""
        object.__setattr__(self, "value", float(self.value))

    def reaches(self, bound: float) -> bool:
        """Whether the value is at least as good as `bound`; NaN never is."""
        return self.value >= bound if self.higher_is_better else self.value <= bound

    def __str__(self) -> str:
        return f"{self.value:.4f} {self.unit}".rstrip()


@dataclass(frozen=True)
class AllowedLoss:
    """How much worse than the weights' score a file of lower precision may be, by one metric."""

    amount: float
    relative: bool = False
    """Whether `amount` is a share of the weights' value; else it is in the metric's unit."""

    def allows(self, weights: Metric, variant: Metric) -> bool:
        """Whether `variant` is close enough to, or better than, `weights`; NaN never is."""
        lost = weights.value - variant.value if weights.higher_is_better else variant.value - weights.value
        return lost <= self.amount * (abs(weights.value) if self.relative else 1)

    def __str__(self) -> str:
        return f"{self.amount:.3g}" if not self.relative else f"{self.amount:.3%} of the value"
