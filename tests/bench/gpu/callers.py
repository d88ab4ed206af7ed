"""Callers that each wait for their answer before they ask again (a closed loop), in a process for each spare core.

    python -m tests.bench.gpu.callers "gRPC" 127.0.0.1:8001 artifacts/bench-gpu resnet50_fp16 16

One process is one core of load. It connects its callers, checks an answer of each, says that it is ready, and for
every number of seconds that it is told it answers with what it saw.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.server import processes

MOST_PROCESSES = 12
READY_SECONDS = 120.0
ROOT = Path(__file__).parents[3]


class NoLoad(Exception):
    """The load was not made, or an answer was none; the message says why."""


@dataclass(frozen=True)
class Seen:
    """What all callers saw together."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


class Crowd:
    """So many callers of one model over one transport, ready to call."""

    def __init__(self, running: list[subprocess.Popen[bytes]]) -> None:
        self._running = running
        self._hear()

    def call(self, seconds: float) -> Seen:
        """All callers call for so long.

        Raises:
            NoLoad: with the reason of the first caller that has one.
        """
        for process in self._running:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{seconds}\n".encode())
                process.stdin.flush()
        heard = self._hear()
        latencies = np.concatenate([one["ms"] for one in heard])
        if not len(latencies):
            raise NoLoad(f"no request was answered within {seconds} s")
        rate = sum(len(one["ms"]) / one["seconds"] for one in heard)
        return Seen(rate, *(float(value) for value in np.percentile(latencies, (50, 99))))

    def _hear(self) -> list[dict[str, Any]]:
        heard = []
        for process in self._running:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise NoLoad("a process of callers ended; its reason is on the standard error")
            heard.append(json.loads(line))
        if faults := [one["fault"] for one in heard if "fault" in one]:
            raise NoLoad(faults[0])
        return heard


@contextlib.contextmanager
def crowd(transport: str, address: str, folder: Path, model: str, concurrency: int) -> Iterator[Crowd]:
    """`concurrency` callers, connected.

    Raises:
        NoLoad: they cannot connect, or an answer is wrong.
    """
    count = min(concurrency, MOST_PROCESSES, max(1, len(os.sched_getaffinity(0)) - 1))
    shares = [concurrency // count + (number < concurrency % count) for number in range(count)]
    with contextlib.ExitStack() as stack:
        running = []
        for share in shares:
            command = [
                sys.executable,
                "-m",
                "tests.bench.gpu.callers",
                transport,
                address,
                str(folder.resolve()),
                model,
            ]
            process = processes.spawn([*command, str(share)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.callback(_stop, process)
            running.append(process)
        yield Crowd(running)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()  # the end of its input is the end of its work: regions are given back
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        processes.stop(process, grace=2.0)
    if process.stdout is not None:
        process.stdout.close()


def serve(transport: str, address: str, folder: Path, model: str, count: int) -> None:
    """Connect and check, then call for each line on the standard input."""
    from loadtest.errors import RequestFailed
    from loadtest.golden import load_golden
    from tests.bench.gpu.subjects import wrong
    from tests.bench.gpu.transports import connect

    golden = load_golden(folder, model)
    with contextlib.ExitStack() as stack:
        try:
            callers = []
            for number in range(count):
                item = number % len(golden)
                caller = connect(transport, address, golden, item)
                stack.callback(caller.close)
                if fault := wrong(caller.answer(), golden.answers([item])):
                    raise RequestFailed(f"a wrong answer: {fault}")
                callers.append(caller)
            _say({})
            for line in sys.stdin:
                _say(_call(callers, float(line)))
        except (RequestFailed, OSError) as error:
            _say({"fault": f"{transport}, {model}: {error}"})


def _call(callers: list[Any], seconds: float) -> dict[str, Any]:
    """Each caller in a greenlet of its own, until the time is over; what they saw."""
    import gevent

    latencies: list[float] = []
    started = time.perf_counter()
    deadline = started + seconds

    def ask(caller: Any) -> None:
        before = time.perf_counter()
        while before < deadline:
            caller.call()
            after = time.perf_counter()
            latencies.append(round((after - before) * 1000, 4))
            before = after

    gevent.joinall([gevent.spawn(ask, caller) for caller in callers], raise_error=True)
    return {"ms": latencies, "seconds": time.perf_counter() - started}


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201, the other end of a pipe reads it


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
