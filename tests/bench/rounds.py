"""Alternating rounds: every contender has a turn in each round, so that a busy moment falls on all alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import numpy as np

# Long enough for the threads of the contender before, which spin for a while in wait of work, to go to sleep.
PAUSE_SECONDS = 0.02
FEWEST_ROUNDS, MOST_ROUNDS = 5, 40


class ContenderFailed(RuntimeError):
    """A contender's process ended, or took longer than it may."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: the median of the rounds and the quartiles about it."""

    median: float
    low: float
    high: float


class Contender:
    """A running process that answers turns as `tests.bench.contenders` does."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.why = ""
        """Why its last answer had no time, where it said so."""
        self._process = process

    def turn(self, model: str, batch: int) -> float | None:
        """Milliseconds of one call, or None where the contender has no such model.

        Raises:
            ContenderFailed: its process ended; what it said is on the standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"model": model, "batch": batch}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise ContenderFailed(f"{self.name} ended") from None
        line = self._process.stdout.readline()
        if not line:
            raise ContenderFailed(f"{self.name} ended at {model}, batch {batch}")
        answer = json.loads(line)
        self.why = answer.get("why", "")
        took: float | None = answer.get("ms")
        return took

    def stop(self) -> None:
        """End its process, at once."""
        self._process.kill()
        self._process.wait()


@contextmanager
def contenders(names: Sequence[str], threads: int, seconds: float) -> Iterator[list[Contender]]:
    """The named contenders, a process each with `threads` threads, ended after `seconds` at the latest."""
    commands = {name: [sys.executable, "-m", "tests.bench.contenders", name, str(threads)] for name in names}
    with start(commands, {"OMP_NUM_THREADS": str(threads)}, seconds) as running:
        yield running


@contextmanager
def start(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], seconds: float
) -> Iterator[list[Contender]]:
    """A process for each named command, with `environment` added to this one's, ended after `seconds` at the latest."""
    with ExitStack() as stack:
        started = []
        for name, command in commands.items():
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", **environment},
            )  # fmt: skip
            stack.callback(_end, process)
            started.append(Contender(name, process))
            watchdog = threading.Timer(seconds, process.kill)
            watchdog.start()
            stack.callback(watchdog.cancel)
        yield started


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what it was still to be told
                pipe.close()
    process.wait()


def race(running: Sequence[Contender], model: str, batch: int, seconds: float) -> dict[str, Timing]:
    """Let all contenders run `model` in turn for about `seconds`, after one turn that is not counted."""
    racing = [contender for contender in running if contender.turn(model, batch) is not None]
    times: dict[str, list[float]] = {contender.name: [] for contender in racing}
    deadline = time.perf_counter() + seconds
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and time.perf_counter() > deadline:
            break
        first = number % len(racing)
        for contender in racing[first:] + racing[:first]:
            time.sleep(PAUSE_SECONDS)
            took = contender.turn(model, batch)
            assert took is not None
            times[contender.name].append(took)
    return {
        name: Timing(*(float(value) for value in np.percentile(values, (50, 25, 75)))) for name, values in times.items()
    }
