"""What a client did, in numbers."""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from clients.calls import Call


class Observer(Protocol):
    """Is told of every call of a client; what it puts into `call.headers` in `begun` goes to the server."""

    def begun(self, call: Call) -> None: ...

    def ended(self, call: Call, seconds: float, error: BaseException | None) -> None: ...


@dataclass(frozen=True)
class Statistics:
    """Of a client, since it was made (in a forked child: since the fork).

    `calls` have ended, `failed` of them with an exception. `requests` were sent for them, `retries` of those because
    one before got no answer; `failovers` is how often another server was tried. `seconds` is the sum of the calls'
    times, `slowest` the longest of them.
    """

    calls: int = 0
    failed: int = 0
    requests: int = 0
    retries: int = 0
    failovers: int = 0
    seconds: float = 0.0
    slowest: float = 0.0


class Counting:
    """An observer that counts; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = self._failed = self._requests = self._retries = self._failovers = 0
        self._seconds = self._slowest = 0.0

    @property
    def so_far(self) -> Statistics:
        """Of all calls that have ended."""
        with self._lock:
            counts = self._calls, self._failed, self._requests, self._retries, self._failovers
            return Statistics(*counts, self._seconds, self._slowest)

    def begun(self, call: Call) -> None:
        """Nothing is counted before it has ended."""

    def ended(self, call: Call, seconds: float, error: BaseException | None) -> None:
        with self._lock:
            self._calls += 1
            self._failed += error is not None
            self._requests += call.requests
            self._retries += call.retries
            self._failovers += call.failovers
            self._seconds += seconds
            self._slowest = max(self._slowest, seconds)


class Watched:
    """A block that is one call, for all observers."""

    def __init__(self, call: Call, observers: list[Observer]) -> None:
        self._call, self._observers = call, observers

    def __enter__(self) -> Call:
        self._start = time.perf_counter()
        for observer in self._observers:
            observer.begun(self._call)
        return self._call

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seconds = time.perf_counter() - self._start - self._call.deadline.paused
        for observer in self._observers:
            observer.ended(self._call, seconds, error)
