"""The measured curve of one server, as `conch load profile` leaves it, checked before anything is made of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.errors import CannotRun

LEAST_POINTS = 3
MOST_LATE = 0.25  # share of sends, as for a valid run: loadtest/verdict.py
COLLAPSE = 20.0  # times the first median, as loadtest/search.py has it
FEWEST_ANSWERS = {50.0: 6, 95.0: 72, 99.0: 368}  # that a percentile takes: loadtest/latency.py


@dataclass(frozen=True)
class Point:
    """One rate at which every request was answered rightly, and sent when it was due.

    Attributes:
        rate: Requests/s.
        took_ms: Response times, [n], as quantiles at equal distances.
        batch_ms: What an execution took an instance, in ms, by its items.
        executions: How many there were, by their items.
    """

    rate: float
    took_ms: NDArray[np.float64]
    batch_ms: dict[int, float]
    executions: dict[int, int]

    def percentile_ms(self, percent: float) -> float:
        """Of the response times."""
        return float(np.percentile(self.took_ms, percent))


@dataclass(frozen=True)
class Curve:
    """What one server was measured to do.

    Attributes:
        model: Its name.
        instances, max_batch, delay_ms: As the server ran it; `max_batch` in requests.
        batch: Items of a request.
        points: The usable ones by their rate, ascending.
        unusable: A sentence for each of the others.
        machine: Processor and cores, in words.
    """

    model: str
    instances: int
    max_batch: int
    delay_ms: float
    batch: int
    points: tuple[Point, ...]
    unusable: tuple[str, ...]
    machine: str


def read_curve(path: Path, percent: float) -> Curve:
    """Of a profile's JSON file, with the points whose sample is large enough for the percentile `percent`.

    Raises:
        CannotRun: It is none, was made without the server's statistics, or has too few usable points.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        model, points = str(found["model"]), list(found["points"])
    except OSError as error:
        raise CannotRun(
            f"cannot read {path} ({error.strerror}): measure one server with: conch load profile"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{path} is not what `conch load profile` writes ({type(error).__name__}: {error})") from error
    again = f"measure again: conch load profile {model} --duration 20s"
    try:
        served = found["served"]
        usable, unusable = _sorted_out(points, percent)
        batch, instances = int(found["batch"]), int(served["instances"])
        most, delay = max(1, int(served["max_batch"]) // batch), float(served["delay_ms"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CannotRun(f"{path} does not say {error}, as those of an older Conch do not; {again}") from error
    if min(batch, instances) < 1 or delay < 0:
        raise CannotRun(f"{path}: a server has instances and batches of at least 1, and no delay below 0; {again}")
    if len(usable) < LEAST_POINTS:
        raise CannotRun(
            f"{path} has {len(usable)} usable of {len(points)} points, at least {LEAST_POINTS} are needed "
            f"({'; '.join(unusable) or 'nothing was measured'}); {again}"
        )
    machine = found.get("machine", {})
    where = f"{machine.get('cpu', 'a machine of unknown kind')}, {machine.get('cores', '?')} cores"
    return Curve(model, instances, most, delay, batch, tuple(usable), tuple(unusable), where)


def _sorted_out(points: list[dict[str, Any]], percent: float) -> tuple[list[Point], list[str]]:
    usable: list[Point] = []
    unusable = []
    for entry in sorted(points, key=lambda entry: float(entry["rate"])):
        first_ms = usable[0].percentile_ms(50) if usable else math.inf
        if reason := _unusable(entry, percent, first_ms):
            unusable.append(f"{entry['rate']:.0f}/s: {reason}")
            continue
        bounds, counts = np.array(entry["histogram"], float).reshape(-1, 2).T
        ranks = (np.arange(2000) + 0.5) / 2000 * counts.sum()
        took = bounds[np.searchsorted(np.cumsum(counts), ranks)]
        split = entry["server"]
        usable.append(
            Point(
                float(entry["rate"]), took,
                {int(size): float(taken) for size, taken in split["batch_ms"].items()},
                {int(size): int(count) for size, count in split["batches"].items()},
            )
        )  # fmt: skip
    return usable, unusable


def _unusable(entry: dict[str, Any], percent: float, first_ms: float) -> str:
    """Why a point shows nothing of the server; empty where it does."""
    answered = entry["requests"] - entry["failures"]
    if entry["failures"]:
        return f"{entry['failures']} of {entry['requests']} requests failed"
    if entry["exhausted"]:
        return "the load generator ran out of users"
    if entry["late_share"] > MOST_LATE:
        return f"{entry['late_share']:.0%} of the requests were sent late: it shows the load generator"
    if answered < FEWEST_ANSWERS[percent]:
        return f"{answered} answers, p{percent:g} takes {FEWEST_ANSWERS[percent]}"
    if entry["latency_ms"]["p50"] > COLLAPSE * first_ms:
        return "the server did not keep up"
    if not (entry["server"] or {}).get("batch_ms"):
        return "without the server's statistics"
    return ""
