"""Alternating rounds: every contender has a turn in each round, so that a busy moment falls on all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

TURN_SECONDS = 0.012
# Long enough for the idle threads of the contender before, which spin for work, to go to sleep.
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: the median of the rounds and the quartiles about it."""

    median: float
    low: float
    high: float


def race(contenders: Mapping[str, Callable[[], object]], seconds: float, most_rounds: int = 40) -> dict[str, Timing]:
    """Run all contenders in turn for about `seconds` (at least five rounds); the first in a round changes."""
    repeats = {}
    for name, call in contenders.items():
        call()  # what is done once: allocation, caches, compilation
        started = time.perf_counter()
        call()
        repeats[name] = max(1, round(TURN_SECONDS / (time.perf_counter() - started)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    deadline = time.perf_counter() + seconds
    for turn in range(most_rounds):
        if turn >= 5 and time.perf_counter() > deadline:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(PAUSE_SECONDS)
            contenders[name]()  # wakes its own threads
            started = time.perf_counter()
            for _ in range(repeats[name]):
                contenders[name]()
            times[name].append((time.perf_counter() - started) / repeats[name] * 1000)
    return {
        name: Timing(*(float(value) for value in np.percentile(values, (50, 25, 75)))) for name, values in times.items()
    }
