"""Was every promise kept, was one broken, or does the run not show it?"""

import math
from dataclasses import dataclass
from signal import Signals
from typing import Literal

from conch.contracts.promises import Promise
from loadtest.recorder import Recorder, Tally
from loadtest.remedy import duration_that_tells, rate_that_does, users_that_do
from loadtest.scenario import Scenario
from loadtest.schedule import expected

Outcome = Literal["KEPT", "BROKEN", "INVALID"]
EXIT_CODES: dict[Outcome, int] = {"KEPT": 0, "BROKEN": 1, "INVALID": 2}

MOST_CPU = 0.9  # of a core, for an event loop that still comes to everything
MOST_LATE = 0.25  # share of sends; more, and it was another load than the one planned
LEAST_SENT = 0.99  # share of the planned requests
CLOSED_LEAST_RATE = 0.9  # share of the rate: a closed loop falls behind it by itself


@dataclass(frozen=True)
class Verdict:
    """One promise held against a measurement: kept or broken where the whole interval [low, high] says so.

    `got` is None where nothing, or too little, was measured.
    """

    metric: str
    limit: float
    got: float | None
    low: float | None
    high: float | None
    verdict: Outcome

    @property
    def kept(self) -> bool:
        return self.verdict == "KEPT"

    def __str__(self) -> str:
        got = _number(self.got) if self.got is not None else "n too small" if self.low is not None else "not measured"
        between = "" if self.metric == "error_rate" else f" (95 % interval {_number(self.low)} to {_number(self.high)})"
        return f"{self.metric} {got}{between}, promised at most {self.limit:.6g}"


@dataclass(frozen=True)
class Check:
    """One reason for which a run may say nothing about the server."""

    name: str
    ok: bool
    says: str


def judge(promise: Promise, tally: Tally) -> list[Verdict]:
    """Every promise against what `tally` counted."""
    verdicts = []
    distribution = tally.distribution()
    for percent in (50, 95, 99):
        limit = getattr(promise, f"p{percent}_ms")
        if limit is None:
            continue
        found = distribution.percentile(percent)
        outcome: Outcome = "INVALID"
        if found.high is not None and found.high <= limit:
            outcome = "KEPT"
        elif found.low is not None and found.low > limit:
            outcome = "BROKEN"
        value, low, high = (_finite(number) for number in (found.value, found.low, found.high))
        verdicts.append(Verdict(f"p{percent}_ms", limit, value, low, high, outcome))
    if tally.requests:
        errors = tally.error_rate()
        kept: Outcome = "KEPT" if errors <= promise.error_rate else "BROKEN"
        verdicts.append(Verdict("error_rate", promise.error_rate, errors, errors, errors, kept))
    return verdicts


def checks(recorder: Recorder, verdicts: list[Verdict], rate: float, seconds: float, pattern: str) -> list[Check]:
    """Whether the generator did what was planned, and was not itself what the latencies show.

    `pattern` is poisson, constant, replay (which has no rate) or closed.
    """
    tally = recorder.total()
    known = None if pattern == "replay" else rate
    found = _of_any_loop(recorder, tally, known)
    if pattern == "closed":
        made, least = tally.requests / seconds if seconds > 0 else 0.0, CLOSED_LEAST_RATE * rate
        found.append(
            Check("rate", made >= least, f"{made:.1f} requests/s made, at least {least:.1f} of {rate:g} needed")
        )
    else:
        planned = rate * seconds
        found += _open_loop(recorder, tally, None if pattern == "replay" else (planned, planned), known)
    return found + _of_promises(verdicts, tally, seconds)


def mix_checks(recorder: Recorder, verdicts: dict[str, list[Verdict]], scenario: Scenario) -> list[Check]:
    """The same of a scenario, with the verdicts on each model."""
    found = _of_any_loop(recorder, recorder.total()) + _open_loop(recorder, recorder.total(), expected(scenario))
    for part in scenario.parts:
        # A request of a sequence may have waited for the answer before it, which is not the generator's delay.
        tally = recorder.total(part.model)
        known = _of_promises(verdicts[part.model], tally, scenario.duration_s, own_delay=part.stream is None)
        found += [Check(check.name, check.ok, f"{part.model}: {check.says}") for check in known]
    return found


def conclude(verdicts: list[Verdict], found: list[Check]) -> Outcome:
    """Wrong answers and errors break a promise however the load was made; the rest takes a valid run."""
    broken = [verdict.metric for verdict in verdicts if verdict.verdict == "BROKEN"]
    if "error_rate" in broken:
        return "BROKEN"
    if not all(check.ok for check in found if check.name != "samples"):
        return "INVALID"
    if broken:
        return "BROKEN"
    return "KEPT" if all(check.ok for check in found) else "INVALID"


def _of_any_loop(recorder: Recorder, tally: Tally, rate: float | None = None) -> list[Check]:
    """`rate` is in requests/s; None where it changes, and no other one can be advised."""
    watch = recorder.watch
    says = f"the generator's event loop used {watch.busiest:.0%} of a core, at most {MOST_CPU:.0%} is sound"
    slower = rate_that_does(rate, watch.busiest, MOST_CPU) if rate else ""
    return [
        Check("sent", tally.requests > 0, f"{tally.requests} requests counted"),
        Check("cpu", watch.busiest <= MOST_CPU, _with(says, slower if watch.busiest > MOST_CPU else "")),
    ]


def stopped_check(number: int, seconds: float, planned: float) -> list[Check]:
    """Of a run that signal `number` ended after `seconds`; none where it did not (0), or only what comes after it."""
    if not number or seconds >= planned:
        return []
    return [Check("stopped", False, f"ended by {Signals(number).name} after {seconds:.1f} of {planned:g} s")]


def _of_promises(verdicts: list[Verdict], tally: Tally, seconds: float, own_delay: bool = True) -> list[Check]:
    found = []
    if tally.requests and tally.answered == 0:  # a promise that bears this is kept by a server that does nothing
        found.append(Check("answered", False, f"none of {tally.requests} requests was answered"))
    for verdict in verdicts:
        limit, clock = verdict.limit, tally.distribution("service")
        if own_delay and verdict.verdict == "BROKEN" and verdict.metric != "error_rate":
            high = clock.percentile(float(verdict.metric.strip("p_ms"))).high
            says = (
                f"{verdict.metric} is broken from the intended time and kept from the real send: the generator's delay"
            )
            found.append(Check("own delay", high is None or high > limit, says))
        if verdict.verdict == "INVALID":
            percent = float(verdict.metric.strip("p_ms"))
            remedy = duration_that_tells(tally.distribution(), percent, limit, seconds)
            says = f"too few to tell ({tally.requests} requests): {verdict}"
            found.append(Check("samples", False, _with(says, remedy)))
    return found


def _open_loop(
    recorder: Recorder, tally: Tally, planned: tuple[float, float] | None, rate: float | None = None
) -> list[Check]:
    """`planned` is the mean and the variance of the number of arrivals; None for a replay, whose number is its own."""
    watch = recorder.watch
    sent = tally.requests / watch.scheduled if watch.scheduled else 0.0
    late = tally.late / tally.requests if tally.requests else 0.0
    longest = tally.longest_ms if tally.answered else None
    more = users_that_do(rate, longest, watch.users) if rate and watch.exhausted else ""
    slower = rate_that_does(rate, 1, sent) if rate and sent < LEAST_SENT else ""
    found = [
        Check(
            "pool",
            watch.exhausted == 0,
            _with(f"{watch.exhausted} requests found all {watch.users} users busy (--users)", more),
        ),
        Check("late", late <= MOST_LATE, f"{late:.1%} were sent late, at most {MOST_LATE:.0%} is sound"),
        Check(
            "complete",
            sent >= LEAST_SENT,
            _with(f"{tally.requests} of {watch.scheduled} due requests were sent", slower),
        ),
    ]
    if planned is not None:
        mean, variance = planned
        ok = abs(watch.scheduled - mean) <= max(0.01 * mean, 4 * math.sqrt(variance))
        says = f"{watch.scheduled} requests came due where {mean:.0f} were planned"
        found.append(Check("rate", ok, says))
    return found


def _with(says: str, remedy: str) -> str:
    return f"{says}; {remedy}" if remedy else says


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"
