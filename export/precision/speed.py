"""How fast a variant is beside its fp32 file: both in turn, so that a busy moment slows both."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from training.score import Predict

ROUNDS = 9
ROUND_SECONDS = 0.02


def speedup(fp32: Predict, variant: Predict, inputs: Mapping[str, np.ndarray]) -> float:
    """Time of `fp32` over that of `variant` on the same inputs, each the best of its rounds.

    The best and not the median: few rounds are run, and whatever else the machine does can only slow one down. The time
    is that of this thread, which computes alone: while others have the processor it stands still.
    """
    started = time.thread_time()
    fp32(inputs)
    variant(inputs)
    runs = max(1, int(ROUND_SECONDS / max(time.thread_time() - started, 1e-6)))
    times: dict[str, list[float]] = {"fp32": [], "variant": []}
    for _ in range(ROUNDS):
        for name, predict in (("fp32", fp32), ("variant", variant)):
            started = time.thread_time()
            for _ in range(runs):
                predict(inputs)
            times[name].append(time.thread_time() - started)
    return min(times["fp32"]) / min(times["variant"])
