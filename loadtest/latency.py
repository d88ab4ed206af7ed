"""Latencies: recorded with three significant digits, read back as percentiles with the interval each can be trusted to.

Units of 10 ns let HdrHistogram keep three digits from 10 us on (http://hdrhistogram.org).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from hdrh.histogram import HdrHistogram

UNITS_PER_MS = 100_000
LONGEST = 3600 * 1000 * UNITS_PER_MS  # an hour; what took longer counts as that
DIGITS = 3
CONFIDENCE = 0.95
PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)


def new_histogram() -> HdrHistogram:
    """An empty one; its values are units of 10 ns."""
    return HdrHistogram(1, LONGEST, DIGITS)


def units(milliseconds: float) -> int:
    """Milliseconds as a value to be recorded."""
    return max(0, min(round(milliseconds * UNITS_PER_MS), LONGEST))


def quantised_ms(milliseconds: float) -> float:
    """The upper end of the bucket that HdrHistogram puts this value in: what it is read back as."""
    value = units(milliseconds)
    spare = max(0, value.bit_length() - 11)  # 2048 steps to a power of two
    return (((value >> spare) + 1 << spare) - 1) / UNITS_PER_MS


@dataclass(frozen=True)
class Percentile:
    """A percentile in ms with its interval, all None where the sample cannot say: no upper end, no number.

    `low` is there even so where the sample shows that much. inf: a request that got no answer.
    """

    percent: float
    value: float | None
    low: float | None
    high: float | None

    @property
    def name(self) -> str:
        return f"p{self.percent:g}"


class Distribution:
    """What was recorded, sorted: `bounds` in ms (upper ends of the buckets), `counts` of each, and how many requests
    never got an answer, which are slower than any bound."""

    def __init__(self, histogram: Iterable[tuple[float, int]], lost: int = 0) -> None:
        pairs = sorted(histogram)
        self.bounds = np.array([bound for bound, _ in pairs], float)
        self.counts = np.array([count for _, count in pairs], np.int64)
        self.lost = lost
        self._cumulated = np.cumsum(self.counts)
        self.answered = int(self.counts.sum())

    def __len__(self) -> int:
        return self.answered + self.lost

    def at_rank(self, rank: int) -> float:
        """The rank-th smallest (from 1) in ms; inf where that one got no answer."""
        if rank > self.answered:
            return math.inf
        return float(self.bounds[np.searchsorted(self._cumulated, rank)])

    def percentile(self, percent: float) -> Percentile:
        """With its interval from order statistics, which supposes nothing about the distribution but that requests are
        independent of each other (Hahn & Meeker, Statistical Intervals, 5.2)."""
        low, high = interval_ranks(len(self), percent / 100)
        lower = self.at_rank(low) if low is not None else None
        if high is None or low is None:
            return Percentile(percent, None, lower, None)
        return Percentile(percent, self.at_rank(nearest_rank(len(self), percent / 100)), lower, self.at_rank(high))


def nearest_rank(count: int, share: float) -> int:
    """The smallest rank that `share` of `count` values do not exceed."""
    return max(1, math.ceil(round(share * count, 6)))


def interval_ranks(count: int, share: float) -> tuple[int | None, int | None]:
    """Ranks l and u such that the quantile lies in [x_l, x_u] with CONFIDENCE; None for an end that does not exist.

    x_l is above the quantile when fewer than l of `count` values are below it, which is binomial; u likewise.
    """
    if count == 0:
        return None, None
    from scipy.special import bdtr  # a fifth of a second, which every command would wait for

    tail = (1 - CONFIDENCE) / 2
    spread = 6 * math.sqrt(count * share * (1 - share)) + 6
    ranks = np.arange(max(1, math.floor(count * share - spread)), min(count, math.ceil(count * share + spread)) + 1)
    fewer = bdtr(ranks - 1, count, share)  # P(fewer than rank values are at most the quantile)
    lows, highs = ranks[fewer <= tail], ranks[1 - fewer <= tail]
    return (int(lows[-1]) if len(lows) else None), (int(highs[0]) if len(highs) else None)
