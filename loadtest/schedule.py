"""A scenario as the requests to be made, in order of their intended times."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.arrivals import poisson
from loadtest.scenario import Part, Scenario, Shares
from loadtest.streams import Sequence, Step

GRID = 10_001  # moments of the run at which its rate is looked at


@dataclass(slots=True, frozen=True)
class Planned:
    """One request: when (seconds of the counted time, below 0 in the warm-up), to what, over what, with how many items.

    `draw` is for the choice of the items: the same for all requests of a sequence.
    """

    offset: float
    part: Part
    protocol: str
    batch: int
    item_seed: float
    step: Step | None = None


def schedule(scenario: Scenario, share: int = 0, shares: int = 1) -> Iterator[Planned]:
    """What the share-th of `shares` generators has to send, each model a Poisson process of its own whose rate changes
    with time. A sequence begins as a Poisson arrival, and its requests follow at even distances; the end of the run
    ends it early."""
    streams = [_requests(scenario, part, share, shares) for part in scenario.parts]
    return heapq.merge(*streams, key=lambda planned: planned.offset)


def expected(scenario: Scenario) -> tuple[float, float]:
    """The mean of the number of counted requests, and its variance or a little more: a sequence comes as a whole."""
    times = np.linspace(-scenario.warmup_s, scenario.duration_s, GRID)
    rates = np.array([scenario.rate_at(time) for time in times])
    arrived = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(times))])
    mean = variance = 0.0
    for part in scenario.parts:
        length, interval = (part.stream.length, part.stream.interval_s) if part.stream else (1, 0.0)
        # Request number n of a sequence is counted when its sequence began n intervals before a counted moment.
        ends = scenario.duration_s - np.arange(length) * interval
        counted = np.interp(ends, times, arrived) - np.interp(ends - scenario.duration_s, times, arrived)
        requests = float(counted.sum()) * scenario.share(part) / length
        mean, variance = mean + requests, variance + requests * length
    return mean, variance


def _requests(scenario: Scenario, part: Part, share: int, shares: int) -> Iterator[Planned]:
    draw = random.Random(f"{scenario.seed}:{share}:{part.model}")
    length = part.stream.length if part.stream else 1
    portion = scenario.share(part) / length / shares
    times = poisson(
        lambda time: scenario.rate_at(time - scenario.warmup_s) * portion,
        scenario.highest * portion,
        scenario.warmup_s + scenario.duration_s,
        draw,
    )
    starts = (
        Planned(
            time - scenario.warmup_s, part, _choose(draw, part.protocols), _choose(draw, part.batches), draw.random()
        )
        for time in times
    )
    return _in_sequences(scenario, part, starts) if part.stream else starts


def _in_sequences(scenario: Scenario, part: Part, starts: Iterator[Planned]) -> Iterator[Planned]:
    assert part.stream is not None
    length, interval = part.stream.length, part.stream.interval_s
    under_way: list[tuple[float, int, Planned]] = []

    def following(planned: Planned) -> None:
        assert planned.step is not None
        if not planned.step.end:
            _push(under_way, _step(planned, planned.step.sequence, planned.step.number + 1, length, interval, end))

    end = scenario.duration_s
    for start in starts:
        while under_way and under_way[0][0] <= start.offset:
            planned = heapq.heappop(under_way)[2]
            yield planned
            following(planned)
        first = _step(start, Sequence(), 0, length, interval, end)
        yield first
        following(first)
    while under_way:
        planned = heapq.heappop(under_way)[2]
        yield planned
        following(planned)


def _step(before: Planned, sequence: Sequence, number: int, length: int, interval: float, end: float) -> Planned:
    """The request of this number; the last one before the end of the run ends its sequence."""
    offset = before.offset + (interval if number else 0.0)
    last = number + 1 == length or offset + interval >= end
    step = Step(sequence, number, start=number == 0, end=last)
    return Planned(offset, before.part, before.protocol, before.batch, before.item_seed, step)


def _push(under_way: list[tuple[float, int, Planned]], planned: Planned) -> None:
    assert planned.step is not None
    heapq.heappush(under_way, (planned.offset, planned.step.sequence.id, planned))


def _choose(draw: random.Random, shares: Shares) -> Any:
    return draw.choices(list(shares), list(shares.values()))[0]
