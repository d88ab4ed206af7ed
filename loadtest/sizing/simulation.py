"""Requests through a fleet of batching servers behind a balancer, one event after the other.

Arrivals are a Poisson process. A server has instances and one queue, as Triton's dynamic batcher: a free instance takes
what waits, up to the largest batch, or waits for more until the oldest request has waited for the queue delay.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Balancer = Literal["round_robin", "least_outstanding"]
WARM_UP = 0.1  # share of the requests that fill an empty fleet, and are not counted


@dataclass(frozen=True)
class Server:
    """One server, as the simulation has it.

    Attributes:
        instances: Executions at a time.
        busy_s: Seconds that an instance is busy with a batch, [most requests of a batch + 1], by its requests.
        delay_s: Seconds that a free instance waits for a batch to fill.
        more_s: What a batch takes beside that, [n], one drawn for each; may be below zero.
        way_s: What an answer takes outside the instance, [n], one drawn for each: network, parsing, clients.
    """

    instances: int
    busy_s: NDArray[np.float64]
    delay_s: float = 0.0
    more_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    way_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    @property
    def most(self) -> int:
        """Requests of a full batch."""
        return len(self.busy_s) - 1

    @property
    def capacity(self) -> float:
        """Requests/s of all instances with the batch size that does most."""
        sizes = np.arange(1, self.most + 1)
        return float(self.instances * np.max(sizes / (self.busy_s[1:] + self.more_s.mean())))


@dataclass(frozen=True)
class Loss:
    """Servers that answer no more, `servers` of them from `at_s` on.

    The balancer sends to them until `noticed_s` later; what they had and got until then is sent to others then.
    """

    servers: int
    at_s: float
    noticed_s: float


@dataclass(frozen=True)
class Answers:
    """Of each counted request the second of its arrival and how long its answer took, in s; and how many had to be sent
    again."""

    arrived_s: NDArray[np.float64]
    took_s: NDArray[np.float64]
    sent_again: int

    def percentile_ms(self, percent: float) -> float:
        """The percentile of all answers."""
        return float(np.percentile(self.took_s, percent)) * 1000


def simulate(
    server: Server,
    servers: int,
    rate: float,
    requests: int,
    balancer: Balancer = "least_outstanding",
    loss: Loss | None = None,
    seed: int = 0,
) -> Answers:
    """Send `requests` at `rate` (requests/s) to a fleet of equal servers.

    The same seed draws the same requests at every rate, only closer together: two rates differ by nothing else.
    """
    draw = np.random.default_rng(seed)
    arrived = np.cumsum(draw.exponential(1 / rate, requests))
    more = draw.choice(server.more_s, requests) if server.more_s.any() else np.zeros(requests)
    way = draw.choice(server.way_s, requests)
    fleet = _Fleet(server, servers, arrived.tolist(), more.tolist(), balancer)
    fleet.run(loss)
    counted = slice(0 if loss else int(requests * WARM_UP), None)
    took = np.array(fleet.done) - arrived + way
    return Answers(arrived[counted], took[counted], fleet.sent_again)


class _Fleet:
    """The state between two events. A request is its place in `arrived`."""

    def __init__(
        self, server: Server, servers: int, arrived: list[float], more: list[float], balancer: Balancer
    ) -> None:
        self.server, self.arrived, self.more = server, arrived, more
        self.busy = server.busy_s.tolist()
        self.done = [0.0] * len(arrived)
        self.sent_again = 0
        self._free = [server.instances] * servers
        self._queue: list[deque[int]] = [deque() for _ in range(servers)]
        self._outstanding = [0] * servers
        self._alive = list(range(servers))
        self._dead: set[int] = set()
        self._stranded: list[int] = []
        self._turn = 0
        self._batches = 0
        self._events: list[tuple[float, int, int, Sequence[int]]] = []  # time, number, server, batch (none: a delay)
        self._numbers = 0
        self._least = balancer == "least_outstanding"

    def run(self, loss: Loss | None) -> None:
        """Until every request is answered."""
        moments = [(loss.at_s, self._lose), (loss.at_s + loss.noticed_s, self._notice)] if loss else []
        for place, time in enumerate(self.arrived):
            while moments and moments[0][0] <= time:
                moment, change = moments.pop(0)
                self._until(moment)
                change(moment, loss)
            self._until(time)
            self._send(place, time)
        for moment, change in moments:
            self._until(moment)
            change(moment, loss)
        self._until(float("inf"))

    def _until(self, time: float) -> None:
        """All events up to a moment."""
        events = self._events
        while events and events[0][0] <= time:
            at, _, server, batch = heapq.heappop(events)
            if batch:
                self._answer(at, server, batch)
            if server not in self._dead:
                self._start(server, at)

    def _send(self, place: int, time: float) -> None:
        server = self._next()
        if server in self._dead:
            self._stranded.append(place)
            self._outstanding[server] += 1
            return
        self._queue[server].append(place)
        self._outstanding[server] += 1
        if self._free[server]:
            self._start(server, time)

    def _next(self) -> int:
        alive = self._alive
        self._turn = turn = (self._turn + 1) % len(alive)
        if not self._least:
            return alive[turn]
        # Those with the same number take turns, as in HAProxy and nginx.
        counts = self._outstanding
        fewest = min(counts)
        try:
            return counts.index(fewest, turn)
        except ValueError:
            return counts.index(fewest)

    def _start(self, server: int, time: float) -> None:
        queue, most, delay = self._queue[server], self.server.most, self.server.delay_s
        while queue and self._free[server]:
            count = len(queue)
            if count < most and delay > 0:
                full = self.arrived[queue[0]] + delay
                if time < full:
                    self._push(full, server, ())
                    return
            batch = [queue.popleft() for _ in range(min(count, most))]
            took = self.busy[len(batch)] + self.more[self._batches % len(self.more)]
            self._batches += 1
            self._free[server] -= 1
            self._push(time + max(took, 0.1 * self.busy[len(batch)]), server, batch)

    def _push(self, time: float, server: int, batch: Sequence[int]) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (time, self._numbers, server, batch))

    def _answer(self, time: float, server: int, batch: Sequence[int]) -> None:
        self._free[server] += 1
        if server in self._dead:
            return
        self._outstanding[server] -= len(batch)
        for place in batch:
            self.done[place] = time

    def _lose(self, time: float, loss: Loss | None) -> None:
        assert loss is not None
        self._dead = set(range(loss.servers))
        for server in self._dead:
            self._stranded += self._queue[server]
            self._queue[server].clear()
        self._stranded += [place for _, _, server, batch in self._events if server in self._dead for place in batch]

    def _notice(self, time: float, loss: Loss | None) -> None:
        self._alive = [server for server in self._alive if server not in self._dead]
        for server in self._dead:
            self._outstanding[server] = 1 << 60
        stranded, self._stranded = self._stranded, []
        self.sent_again = len(stranded)
        for place in stranded:
            self._send(place, time)
