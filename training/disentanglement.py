"""Whether each number of a code means one thing: the mutual information gap.

Chen, Li, Grosse and Duvenaud, Isolating sources of disentanglement in variational autoencoders, 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 16
"""Of a number of the code."""
FACTOR_BINS = 8
"""Of a factor, where it has more values than those."""


def mutual_information_gap(codes: NDArray[np.float32], factors: NDArray[np.float32]) -> float:
    """How much more the number that knows most of a factor knows of it than the next one, as a share of its entropy.

    Mean over the factors; 1 where each is known by one number of the code alone.

    Args:
        codes: [n, code], drawn and not means: a number that is nothing but noise then knows nothing.
        factors: [n, factors].
    """
    binned = np.stack([_binned(column, BINS) for column in codes.T], 1)
    gaps = []
    for factor in factors.T:
        told = np.unique(factor, return_inverse=True)[1]
        told = _binned(factor, FACTOR_BINS) if told.max() >= FACTOR_BINS else told
        known = sorted(_mutual_information(column, told) for column in binned.T)
        gaps.append((known[-1] - known[-2]) / _mutual_information(told, told))  # of itself: its entropy
    return float(np.mean(gaps))


def _binned(values: NDArray[np.float32], bins: int) -> NDArray[np.int64]:
    """The number of each value's bin; as many values in one as in another."""
    return np.searchsorted(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]), values)


def _mutual_information(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """In nats, of the counts of pairs."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1 / len(one))
    alone = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    there = table > 0
    return float((table[there] * np.log(table[there] / alone[there])).sum())
