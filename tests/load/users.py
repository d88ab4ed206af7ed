"""Locust users that send golden inputs to a model and check every answer."""

import itertools
import random
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import User, constant_throughput, task

from tests.load.answers import check_answer
from tests.load.golden import load_golden
from tests.load.wire import GrpcWire, HttpWire, Wire

TIMEOUT_S = 10.0  # after which a request has failed


class TritonUser(User):
    """One caller with a connection of its own, sending at its share of the rate.

    Reads `model`, `rate`, `batch`, `seed`, `artifacts`, `http` and `grpc` from the environment's parsed options.
    """

    abstract = True
    protocol: ClassVar[str]
    numbers: ClassVar[itertools.count] = itertools.count()

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.golden = load_golden(Path(options.artifacts), options.model)
        self.draw = random.Random(f"{options.seed}:{next(self.numbers)}")
        self.wire = self.connect(getattr(options, self.protocol))
        self._open()
        # Users start together; without a phase of their own they would send in bursts.
        gevent.sleep(self.draw.random() * self._users() / options.rate)

    def on_stop(self) -> None:
        self.wire.close()

    def connect(self, target: str) -> Wire:
        raise NotImplementedError

    def wait_time(self) -> float:
        """Locust's pacing at this user's share of the rate, which changes with the number of users."""
        pace = constant_throughput(self.environment.parsed_options.rate / self._users())
        return float(pace(self))

    @task
    def infer(self) -> None:
        batch = self.draw.choices(range(len(self.golden)), k=self.environment.parsed_options.batch)
        inputs, expected = self.golden.take(batch)
        packed = self.wire.pack(inputs)
        error: Exception | None = None
        outputs: dict[str, Any] = {}
        start = time.perf_counter()
        try:
            outputs = self.wire.send(packed)
        except Exception as raised:  # whatever it is, this request got no answer
            error = raised
        milliseconds = (time.perf_counter() - start) * 1000
        if error is None:
            try:
                check_answer(outputs, expected, self.golden.tolerance)
            except Exception as raised:
                error = raised
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=self.golden.model,
            response_time=milliseconds,
            response_length=sum(array.nbytes for array in outputs.values() if array is not None),
            exception=error,
            context=self.context(),
        )

    def _open(self) -> None:
        """One request that nobody counts, so that the first counted one does not pay for the connection."""
        inputs, _ = self.golden.take([0])
        try:
            self.wire.send(self.wire.pack(inputs))
        except Exception:
            return  # the counted ones will say what is wrong

    def _users(self) -> int:
        runner = self.environment.runner
        return max(1, runner.target_user_count * runner.worker_count)


class TritonHttpUser(TritonUser):
    """A caller over HTTP."""

    protocol = "http"

    def connect(self, target: str) -> Wire:
        return HttpWire(target, self.golden.model, self.golden.version, list(self.golden.outputs), TIMEOUT_S)


class TritonGrpcUser(TritonUser):
    """A caller over gRPC."""

    protocol = "grpc"

    def connect(self, target: str) -> Wire:
        return GrpcWire(target, self.golden.model, self.golden.version, list(self.golden.outputs), TIMEOUT_S)
