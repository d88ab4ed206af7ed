"""Costs by size, and how fast they grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FITTED = 3
"""The exponent is that of the largest sizes: at small ones what does not grow is most of the cost."""
LINEAR = 1.15
"""The largest exponent that is called linear: costs are noisy."""


@dataclass(frozen=True)
class Curve:
    """What one thing costs, by how much there is of another."""

    name: str
    grows: str
    """What there is more of, in the plural."""
    costs: str
    """What is measured, with its unit."""
    sizes: tuple[int, ...]
    """Rising."""
    values: tuple[float, ...]
    """In the unit of `costs`, above 0, one a size."""
    explained: str = ""
    """Why it grows as it does."""
    most: float = LINEAR
    """The largest exponent that is allowed: above `LINEAR` where it is `explained`."""

    @property
    def exponent(self) -> float:
        """k of cost = a * size^k through the largest sizes, by least squares of the logarithms."""
        sizes, values = self.sizes[-FITTED:], self.values[-FITTED:]
        return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])

    @property
    def met(self) -> bool:
        """Whether it grows no faster than it may."""
        return self.exponent <= self.most
