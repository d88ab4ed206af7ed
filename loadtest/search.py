"""The highest rate that still keeps a promise, by bisection; and how latency grows with the rate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from conch.contracts.promises import Promise
from loadtest.recorder import LATE_MS, histogram_pairs
from loadtest.run import Finished
from loadtest.verdict import MOST_CPU, checks, conclude, judge

Finding = Literal["kept", "not kept", "generator", "stopped"]


@dataclass(frozen=True)
class Step:
    """One rate (requests/s) tried, and what was found: `generator` where the load generator was at its end,
    `stopped` where the run was told to end early."""

    rate: float
    finding: Finding


def finding_of(run: Finished, promise: Promise) -> Finding:
    """Kept is kept. Of the rest, the generator's own failures are told from the server's."""
    if run.stopped:
        return "stopped"
    recorder = run.recorder
    verdicts = judge(promise, recorder.total())
    found = checks(recorder, verdicts, run.plan.rate, run.seconds, run.plan.pattern)
    if conclude(verdicts, found) == "KEPT":
        return "kept"
    failed = {check.name for check in found if not check.ok}
    # Users run out when the server does not answer in time; a generator without CPU is late before that.
    wakes = run.recorder.watch.wakes
    slow = wakes.get_total_count() > 0 and wakes.get_value_at_percentile(50) > LATE_MS * 1e5
    own = "own delay" in failed or recorder.watch.busiest > MOST_CPU or (slow and "late" in failed)
    return "generator" if own else "not kept"


def bisect(
    probe: Callable[[float], Finding], start: float, most: float, precision: float
) -> tuple[list[Step], float | None, float | None]:
    """All steps, the highest rate kept, and the lowest above it that was not (None: there is no such).

    Doubles (or halves) from `start` until one was kept and one was not, then bisects until they are within `precision`
    (a share) of each other. What was not kept is tried once more, for a busy machine breaks promises by chance; `most`
    is the highest rate tried. Ends early where the generator is at its end, and at once where a run was stopped.
    """
    steps: list[Step] = []

    def kept(rate: float) -> bool:
        for _ in range(2):
            finding = probe(rate)
            steps.append(Step(rate, finding))
            if finding in ("kept", "stopped"):
                break
        return finding == "kept"

    low, high, rate = None, None, min(start, most)
    while rate >= 1 and (low is None or high is None):
        if kept(rate):
            low = rate
            if rate >= most or high is not None:
                break
            rate = min(rate * 2, most)
        elif steps[-1].finding == "stopped":
            break
        else:
            high = rate
            if steps[-1].finding == "generator" or low is not None:
                break
            rate /= 2
    while low is not None and high is not None and high / low > 1 + precision:
        if steps[-1].finding in ("generator", "stopped"):
            break
        middle = (low * high) ** 0.5
        if kept(middle):
            low = middle
        elif steps[-1].finding != "stopped":
            high = middle
    return steps, low, high


def limited_by_generator(steps: list[Step], high: float | None) -> bool:
    """Whether the search ended at what the generator, and not the server, can do."""
    return any(step.finding == "generator" and step.rate == high for step in steps)


def point(run: Finished) -> dict[str, Any]:
    """One point of the curve of latency against rate; `server` is what Triton says of it, or None."""
    total = run.recorder.total()
    summary = total.summary(run.seconds)
    keys = ("requests", "failures", "requests_per_s", "goodput_per_s", "late_share", "latency_ms", "service_ms")
    return {
        "rate": run.plan.rate,
        "exhausted": run.recorder.watch.exhausted,
        **{key: summary[key] for key in keys},
        "histogram": histogram_pairs(total.response),
        "server": run.server.split(run.plan.model, summary["service_ms"]["mean"]) if run.server else None,
    }


def collapsed(points: list[dict[str, Any]], factor: float = 20.0) -> bool:
    """Whether the last point's median is past `factor` times the first one's: more load shows nothing new."""
    first, last = points[0]["latency_ms"]["p50"], points[-1]["latency_ms"]["p50"]
    return last is None or (first is not None and last > factor * first)
