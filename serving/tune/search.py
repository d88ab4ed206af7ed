"""The search: one dimension after the other from the current configuration, then the best against it, in turn."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.tune.candidates import Axis, Candidate
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import Point

FINALISTS = 2


class TimeUp(Exception):
    """Nothing more can be measured within the time."""


Measure = Callable[[Candidate], list[Point]]
"""The points of a candidate, none where it cannot be served; raises TimeUp."""


def search(current: Candidate, dimensions: list[Axis], measure: Measure, promise: LatencyLimit) -> bool:
    """Measure along each axis from the best so far, and again until nothing gets better.

    What was measured is kept by `measure`. True: the search came to its end; False: its time did.
    """

    def score(candidate: Candidate) -> float:
        best = promise.best(measure(candidate))
        return promise.score(best) if best else 0.0

    try:
        best, most = current, score(current)
        while True:
            before = best
            for axis in dimensions:
                for candidate in axis.around(best):
                    if (found := score(candidate)) > most:
                        best, most = candidate, found
            if best == before:
                return True
    except TimeUp:
        return False


def finalists(
    found: dict[Candidate, list[Point]], current: Candidate, promise: LatencyLimit
) -> list[tuple[Candidate, int]]:
    """The best candidates other than the current one, best first, each with the number of users it was best with."""
    best = {candidate: promise.best(points) for candidate, points in found.items() if candidate != current}
    kept = {candidate: point for candidate, point in best.items() if point is not None}
    order = sorted(kept, key=lambda candidate: promise.score(kept[candidate]), reverse=True)
    return [(candidate, kept[candidate].users) for candidate in order[:FINALISTS]]


@dataclass(frozen=True)
class Decision:
    """What the final comparison says."""

    winner: Candidate | None
    """None: keep what you have."""
    reason: str


LEAST_ROUNDS = 3


def decide(current: Candidate, rounds: dict[Candidate, list[Point]], promise: LatencyLimit) -> Decision:
    """A winner is better than the current configuration beyond the noise: its worst round beats the current one's best.

    With five rounds of each, chance alone does that once in 252 times, with three once in 20. A broken promise counts
    as nothing served.
    """
    scores = {candidate: [promise.score(point) for point in points] for candidate, points in rounds.items()}
    least = min((len(values) for values in scores.values()), default=0)
    if current not in scores or len(scores) < 2:
        return Decision(None, "nothing was found to compare the current configuration with")
    if least < LEAST_ROUNDS:
        return Decision(None, f"only {least} rounds of the comparison fitted into --time, it takes {LEAST_ROUNDS}")
    others = {candidate: values for candidate, values in scores.items() if candidate != current}
    best = max(others, key=lambda candidate: min(others[candidate]))
    worst, most = min(others[best]), max(scores[current])
    if worst <= 0:
        return Decision(None, f"no configuration kept the promise ({promise}) in every round")
    if worst <= most:
        return Decision(
            None, f"the best other one ({best}) is not better beyond the noise: {worst:.0f} requests/s in its worst "
            f"round, {most:.0f} in the current one's best"
        )  # fmt: skip
    gain = "which breaks the promise in every round" if most == 0 else f"{most:.0f} in the current one's best"
    return Decision(best, f"{worst:.0f} requests/s in its worst round, {gain}")
