"""Locust users that send golden inputs to a model and check the answers."""

import itertools
import random
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import User, constant_throughput, task
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

from conch.contracts.answers import WrongAnswer, check_answer
from loadtest.clock import now
from loadtest.errors import RequestFailed
from loadtest.generator import generator_of
from loadtest.golden import load_golden
from loadtest.streams import Arrival
from loadtest.wire import GrpcWire, HttpWire, Wire, pack

TIMEOUT_S = 10.0  # after which a request has failed


class TritonUser(User):
    """One of a pool, with a connection of its own once it is needed: takes arrivals when they are due.

    In a closed loop it sends at its share of the rate instead, one request after the answer to another.
    """

    abstract = True
    protocol: ClassVar[str]
    connection: ClassVar[type[HttpWire] | type[GrpcWire]]
    numbers: ClassVar[itertools.count] = itertools.count()

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.generator = generator_of(self.environment)
        self.pool = self.generator.pools[self.protocol]
        self.pool.join()
        self.wire: Wire | None = None
        if self.generator.closed:
            self.golden = load_golden(Path(options.artifacts), options.model)
            self.draw = random.Random(f"{options.seed}:{next(self.numbers)}")
            # Users start together; without a phase of their own they would send in bursts.
            gevent.sleep(self.draw.random() * self._users() / options.rate)

    def on_stop(self) -> None:
        self.pool.users -= 1
        if self.wire is not None:
            self.wire.close()

    def wait_time(self) -> float:
        """In a closed loop, Locust's pacing at this user's share of the rate."""
        if not self.generator.closed:
            return 0.0
        pace = constant_throughput(self.environment.parsed_options.rate / self._users())
        return float(pace(self))

    @task
    def infer(self) -> None:
        if self.generator.closed:
            options = self.environment.parsed_options
            items = self.draw.choices(range(len(self.golden)), k=options.batch)
            check = self.golden.repeatable and (options.check >= 1 or self.draw.random() < options.check)
            counted, first = self.generator.counts(), self.generator.begun + options.warmup
            self.send(Arrival(now(), self.golden, items, counted, now() - first, check), paced=True)
        following: Arrival | None = None
        while not self.generator.closed:
            # As Locust's own wait() does it: a user that waits is stopped at once, one that sends when it is done.
            self._state = LOCUST_STATE_WAITING
            arrival = following or self.pool.take()
            if self._state == LOCUST_STATE_STOPPING:
                raise StopUser
            self._state = LOCUST_STATE_RUNNING
            following = self.send(arrival)
            if self._state == LOCUST_STATE_STOPPING:
                raise StopUser

    def send(self, arrival: Arrival, paced: bool = False) -> Arrival | None:
        """Send, compare and report; both clocks stop when the answer is read, before it is compared.

        Gives the next request of the sequence, where there is one that is due already.
        """
        golden, step = arrival.golden, arrival.step
        packed = arrival.packed or pack(self.protocol, golden, arrival.items)
        error: Exception | None = None
        outputs: dict[str, Any] = {}
        start = now()
        try:
            if step is not None and step.sequence.broken:
                raise RequestFailed("not sent: an earlier request of its sequence got no answer")
            if self.wire is None:
                self.wire = self.connection(self.generator.doors[self.protocol], TIMEOUT_S)
            start = now()
            outputs = self.wire.send(packed)
        except Exception as raised:  # whatever it is, this request got no answer
            error = raised
        end = now()
        if error is None and arrival.check:
            try:
                check_answer(outputs, golden.answers(arrival.items, step.number if step else None), golden.tolerance)
            except Exception as raised:
                error = raised
        if arrival.counted:
            self._report(arrival, start, end, outputs, error, paced)
        if step is None:
            return None
        following = step.sequence.answered(broken=error is not None and not isinstance(error, WrongAnswer))
        if following is not None:
            following.ready = end
        return following

    def _report(
        self, arrival: Arrival, start: float, end: float, outputs: dict[str, Any], error: Exception | None, paced: bool
    ) -> None:
        service = (end - start) * 1000
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=arrival.golden.model,
            # A closed loop has no other intention than to send when the answer before has come.
            response_time=service if paced else (end - arrival.due) * 1000,
            response_length=sum(array.nbytes for array in outputs.values() if array is not None),
            exception=error,
            context=self.context(),
            service_time=service,
            # The wait for the answer before it in a sequence is the server's.
            lag=0.0 if paced else (start - max(arrival.due, arrival.ready)) * 1000,
            arrival=arrival,
        )

    def _users(self) -> int:
        runner = self.environment.runner
        return max(1, runner.target_user_count * self.environment.parsed_options.workers)


class TritonHttpUser(TritonUser):
    """A caller over HTTP."""

    protocol = "http"
    connection = HttpWire


class TritonGrpcUser(TritonUser):
    """A caller over gRPC."""

    protocol = "grpc"
    connection = GrpcWire
