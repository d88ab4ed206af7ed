"""A search from start to decision, bounded in time, which goes on where an earlier one was interrupted."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from serving.errors import ServingError
from serving.tune.candidates import Candidate, axes
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import LoadFailed, Point
from serving.tune.progress import Progress
from serving.tune.search import Decision, TimeUp, decide, finalists, search
from serving.tune.trial_server import TrialServer, trial_server

SEARCH_SHARE = 0.6
"""Of the time; the rest is for the comparison of the best with the current configuration."""
ROUNDS = 5


@dataclass(frozen=True)
class Order:
    """What is to be tuned, and how."""

    model: str
    repository: Path
    folder: Path
    """Where the progress and the picture go."""
    promise: LatencyLimit
    time_s: float
    users: tuple[int, ...]
    """Numbers of requests under way that each candidate is tried with."""
    seconds: int
    """Of each load."""
    cores: int


@dataclass
class Tuner:
    """A search under way: the order, what is known, and what was found so far."""

    order: Order
    console: Console
    progress: Progress
    progress_file: Path
    current: Candidate
    models: list[str]
    """The model, and its variants in other precisions."""
    largest_batch: int
    configs: dict[str, str]
    """Text of config.pbtxt of each model, as it was measured."""
    slowest: float = field(default=0.0)
    """Seconds that the longest measurement took."""

    def run(self) -> Decision:
        """Search and compare, from where it was interrupted; at every end what was found is on disk."""
        if not self.complete:
            began = time.monotonic()
            log = self.order.folder / "triton.log"
            with trial_server(self.order.repository, self.models, log) as server:
                self._search(server, began)
                self._compare(server)
            self.progress.complete_s = self.order.time_s
            self.progress.save(self.progress_file)
        return decide(self.current, self.progress.rounds, self.order.promise)

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to measure: another run would need more time to find more."""
        compared = bool(self.progress.rounds) and min(map(len, self.progress.rounds.values())) == ROUNDS
        ended = self.progress.search_ended and compared
        return self.progress.complete_s > 0 and (ended or self.order.time_s <= self.progress.complete_s)

    def _search(self, server: TrialServer, began: float) -> None:
        spent = self.progress.search_seconds
        deadline = began + max(0.0, self.order.time_s * SEARCH_SHARE - spent)

        def measure(candidate: Candidate) -> list[Point]:
            if candidate not in self.progress.searched:
                found = self._ladder(server, candidate, deadline)
                if candidate == self.current and not found:
                    reason = self.progress.reasons[candidate]
                    raise ServingError(f"the current configuration ({candidate}) cannot be measured: {reason}")
                self.progress.searched[candidate] = found
                self.progress.search_seconds = spent + time.monotonic() - began
                self.progress.save(self.progress_file)
                self._tell(candidate, found)
            return self.progress.searched[candidate]

        if not self.progress.search_ended:
            dimensions = axes(self.current, self.models[1:], self.largest_batch, self.order.cores)
            self.progress.search_ended = search(self.current, dimensions, measure, self.order.promise)
            self.progress.save(self.progress_file)
            if not self.progress.search_ended:
                self.console.print("The time of the search is up; --time gives it more.", style="dim")

    def _ladder(self, server: TrialServer, candidate: Candidate, deadline: float) -> list[Point]:
        """The points of a candidate, with more and more users until the promise is broken."""
        points: list[Point] = []
        for users in self.order.users:
            try:
                points.append(self._measure(server, candidate, users, deadline))
            except LoadFailed as failure:
                self.progress.reasons[candidate] = str(failure)
                return []
            if points[-1].p99_ms is not None and self.order.promise.score(points[-1]) == 0:
                break
        return points

    def _compare(self, server: TrialServer) -> None:
        """The best and the current configuration in alternating rounds, each with the users it was best with."""
        entrants = finalists(self.progress.searched, self.current, self.order.promise)
        if not entrants:
            return
        best = self.order.promise.best(self.progress.searched.get(self.current, []))
        entrants.insert(0, (self.current, best.users if best else entrants[0][1]))
        deadline = time.monotonic() + self.order.time_s * (1 - SEARCH_SHARE)
        self.progress.rounds = {}  # an interrupted comparison begins anew: its rounds are to be of one time
        for number in range(ROUNDS):
            turn = {}
            try:
                for candidate, users in entrants[number % len(entrants) :] + entrants[: number % len(entrants)]:
                    turn[candidate] = self._measure(server, candidate, users, deadline)
            except TimeUp:
                return
            except LoadFailed as failure:
                raise ServingError(f"the comparison failed: {failure}") from failure
            for candidate, point in turn.items():
                self.progress.rounds.setdefault(candidate, []).append(point)
            self.console.print(f"compared, round {number + 1} of {ROUNDS}", style="dim")

    def _measure(self, server: TrialServer, candidate: Candidate, users: int, deadline: float) -> Point:
        started = time.monotonic()
        if started + max(self.slowest, self.order.seconds) > deadline:
            raise TimeUp
        point = server.measure(candidate, users, self.order.seconds)
        self.slowest = max(self.slowest, time.monotonic() - started)
        return point

    def _tell(self, candidate: Candidate, points: list[Point]) -> None:
        best = self.order.promise.best(points)
        found = f"{best.requests_per_s:.0f} requests/s" if best else "breaks the promise" if points else "not served"
        self.console.print(f"{candidate}: {found}", style="dim", highlight=False, markup=False)
