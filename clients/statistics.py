"""What a client did, in numbers."""

import threading
import time
from dataclasses import dataclass, replace
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
        self.so_far = Statistics()

    def begun(self, call: Call) -> None:
        """Nothing is counted before it has ended."""

    def ended(self, call: Call, seconds: float, error: BaseException | None) -> None:
        with self._lock:
            so_far = self.so_far
            self.so_far = replace(
                so_far,
                calls=so_far.calls + 1,
                failed=so_far.failed + (error is not None),
                requests=so_far.requests + call.requests,
                retries=so_far.retries + call.retries,
                failovers=so_far.failovers + call.failovers,
                seconds=so_far.seconds + seconds,
                slowest=max(so_far.slowest, seconds),
            )


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
