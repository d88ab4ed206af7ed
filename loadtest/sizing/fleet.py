"""How many servers of a kind keep a promise at a rate: all of them, without one, without a zone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from loadtest.errors import CannotRun
from loadtest.sizing.calibration import Calibrated
from loadtest.sizing.curve import Curve
from loadtest.sizing.simulation import Answers, Balancer, Loss, simulate

Survive = Literal["nothing", "replica", "zone"]
SURVIVALS: tuple[Survive, ...] = get_args(Survive)

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Fleets that are simulated; between them the rate of a server is interpolated, and more servers give each no more."""
MOST_SERVERS = 100_000
SEARCH_REQUESTS, FINAL_REQUESTS = 20_000, 60_000
SETTLING_S, MOST_REQUESTS = 10.0, 100_000  # that a loss is simulated for after it was noticed
PRECISION = 0.01  # of the rate of a server, as a share


@dataclass(frozen=True)
class Question:
    """What is asked for: the percentile `percent` of the answers within `limit_ms`. Servers are spread over `zones`,
    and `noticed_s` go by until the balancer leaves out one that is gone."""

    percent: float
    limit_ms: float
    balancer: Balancer
    zones: int
    noticed_s: float

    def lost(self, servers: int, survive: Survive) -> int:
        """Servers that are gone in the worst case: of a zone those of the fullest."""
        return {"nothing": 0, "replica": 1, "zone": math.ceil(servers / self.zones)}[survive]


@dataclass(frozen=True)
class State:
    """A fleet in one state: `left` servers that have all of the rate, the load of each, and percentiles in ms."""

    left: int
    load: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Failure:
    """While `lost` servers go: requests that are sent again once the balancer has noticed, the slowest answer in ms,
    and the seconds after which the promise is kept again."""

    lost: int
    sent_again: int
    slowest_ms: float
    broken_s: int


def check_idle(curve: Curve, question: Question) -> None:
    """Raises CannotRun where a server to which next to nothing is sent does not keep the promise."""
    idle = curve.points[0]
    idle_ms = idle.percentile_ms(question.percent)
    if idle_ms > question.limit_ms:
        raise CannotRun(
            f"p{question.percent:g} within {question.limit_ms:g} ms: one server takes {idle_ms:.3g} ms at "
            f"{idle.rate:.0f}/s, its lowest measured rate, so no number of them keeps it; allow more, or make the "
            f"model faster (conch tune)"
        )


class Fleet:
    """Servers of one kind."""

    def __init__(self, kind: Calibrated, question: Question) -> None:
        """Raises CannotRun where hardly any rate keeps the promise; what of an idle server, `check_idle` tells."""
        self.kind, self.question = kind, question
        self._found: dict[int, float] = {}
        if self.rate_of_one(1) <= 0:
            raise CannotRun(
                f"p{question.percent:g} within {question.limit_ms:g} ms is kept by an idle server alone: at a "
                f"hundredth of what one was measured with it is broken; allow more"
            )

    def rate_of_one(self, servers: int) -> float:
        """Requests/s that each of so many may be given; 0 where it is less than a hundredth of the ceiling."""
        steps = [step for step in STEPS if step <= servers]
        low, high = steps[-1], next((step for step in STEPS if step >= servers), STEPS[-1])
        if low == high:
            return self._step(low)
        share = math.log(servers / low) / math.log(high / low)
        return (1 - share) * self._step(low) + share * self._step(high)

    def _step(self, servers: int) -> float:
        if servers not in self._found:
            self._found[servers] = self._searched(servers)
        return self._found[servers]

    def _searched(self, servers: int) -> float:
        most = self.kind.ceiling
        low, high = 0.0, most
        if self._kept(servers, most):
            return most
        while high - low > PRECISION * most:
            middle = (low + high) / 2
            low, high = (middle, high) if self._kept(servers, middle) else (low, middle)
        return low

    def _kept(self, servers: int, rate_of_one: float) -> bool:
        return self.percentile_ms(servers, rate_of_one) <= self.question.limit_ms

    def percentile_ms(self, servers: int, rate_of_one: float) -> float:
        """The percentile of the question where each of so many servers is given this rate."""
        return self._simulated(servers, rate_of_one, SEARCH_REQUESTS).percentile_ms(self.question.percent)

    def _simulated(self, servers: int, rate_of_one: float, requests: int, seed: int = 0) -> Answers:
        some = min(servers, STEPS[-1])
        return simulate(self.kind.server, some, some * rate_of_one, requests, self.question.balancer, seed=seed)

    def keeps(self, servers: int, survive: Survive) -> float:
        """The highest rate at which so many servers keep the promise after what they are to survive."""
        left = servers - self.question.lost(servers, survive)
        return left * self.rate_of_one(left) if left > 0 else 0.0

    def servers_for(self, rate: float, survive: Survive) -> int:
        """The fewest that keep the promise at `rate` (requests/s); raises CannotRun past MOST_SERVERS."""
        low, high = 0, max(1, math.ceil(rate / self.kind.ceiling))
        while self.keeps(high, survive) < rate:
            low, high = high, high + max(1, high // 10)
            if high > MOST_SERVERS:
                raise CannotRun(f"{rate:g}/s takes more than {MOST_SERVERS} servers of {self.kind.ceiling:.0f}/s each")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.keeps(middle, survive) >= rate else (middle, high)
        return high

    def state(self, servers: int, rate: float, survive: Survive) -> State | None:
        """What a fleet at `rate` does after what it is to survive; None where what is left cannot keep up."""
        left = servers - self.question.lost(servers, survive)
        if left <= 0 or rate / left >= self.kind.server.capacity:
            return None
        answers = self._simulated(left, rate / left, FINAL_REQUESTS, seed=1)
        percentiles = (answers.percentile_ms(percent) for percent in (50, 95, 99))
        return State(left, rate / left / self.kind.server.capacity, *percentiles)

    def failure(self, servers: int, rate: float, survive: Survive) -> Failure | None:
        """What happens while those that are to be survived go; None where nothing goes, or nothing is left."""
        question, of_one = self.question, rate / servers
        before, after = 2.0, question.noticed_s + SETTLING_S
        affordable = int(MOST_REQUESTS / (of_one * (before + after)))
        some = min(servers, STEPS[-1], max(affordable, question.zones, 2))
        lost = question.lost(some, survive)
        if lost in (0, some):
            return None
        requests = int(of_one * some * (before + after))
        loss = Loss(lost, before, question.noticed_s)
        answers = simulate(self.kind.server, some, of_one * some, requests, question.balancer, loss, seed=1)
        seconds = np.floor(answers.arrived_s - before).astype(int)
        late = [
            second for second in range(int(after))
            if np.percentile(answers.took_s[seconds == second], question.percent) * 1000 > question.limit_ms
        ]  # fmt: skip
        return Failure(
            lost=question.lost(servers, survive),
            sent_again=round(answers.sent_again * servers / some),
            slowest_ms=float(answers.took_s.max()) * 1000,
            broken_s=(max(late) + 1) if late else 0,
        )
