"""What pairs of costs show: a ratio, an interval that a busy round cannot move far, and a verdict.

The ratio is the median of the rounds', the interval that of a sign test: the order statistics that the true median lies
between with at least `CONFIDENCE`. Nothing is assumed of the noise but that a round in which both cost the same errs to
either side as often, and some rounds may err by anything.

Source: Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd edition, 3.4 to 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.99
"""Of each interval: of a page of ten rows one tells what is not so once in ten runs at most."""
FEWEST_ROUNDS = 8
"""With fewer no interval is sure enough."""
MATTERS = 0.05
"""A cost that grows by more is not to land unseen."""


@dataclass(frozen=True)
class Comparison:
    """The cost of one row in units of the base's; without an interval where there were too few rounds."""

    ratio: float
    low: float
    high: float
    rounds: int

    @property
    def verdict(self) -> str:
        """slower, faster, or that no difference was shown."""
        if self.low > 1:
            return "slower"
        return "faster" if self.high < 1 else "no difference shown"

    @property
    def alarming(self) -> bool:
        """Slower, and by as much as matters."""
        return self.low > 1 and self.ratio > 1 + MATTERS


def compare(base: Sequence[float], ours: Sequence[float]) -> Comparison:
    """Compare costs of the same rounds, which lie side by side in both.

    Args:
        base: What each round cost before, above 0.
        ours: What it costs now.

    Raises:
        ValueError: They are not as many, there are none, or one is no positive number.
    """
    if len(base) != len(ours) or not base:
        raise ValueError(f"{len(base)} and {len(ours)} rounds: expected as many of both, and at least one")
    if wrong := [cost for cost in (*base, *ours) if not (math.isfinite(cost) and cost > 0)]:
        raise ValueError(f"a cost of {wrong[0]}: expected a number above 0")
    ratios = sorted(now / before for before, now in zip(base, ours, strict=True))
    beyond = _beyond(len(ratios))
    low, high = (0.0, math.inf) if beyond is None else (ratios[beyond], ratios[-1 - beyond])
    return Comparison(median(ratios), low, high, len(ratios))


def _beyond(rounds: int) -> int | None:
    """How many of the sorted ratios lie beyond either end of the interval; None where not even all of them are sure."""
    tail, beyond = 0, None
    for count in range(rounds):
        tail += math.comb(rounds, count)
        if tail / 2**rounds > (1 - CONFIDENCE) / 2:
            break
        beyond = count
    return beyond
