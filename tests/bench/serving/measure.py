"""Alternating rounds: in each, every contender is started, checked, driven and stopped; the first one changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.errors import ServingError
from tests.bench.serving.contenders import Contender, Started, Subject, check
from tests.bench.serving.in_process import ceiling
from tests.bench.serving.wrk import InvalidRound, Sample, drive

IN_PROCESS = "in process"
"""ONNX Runtime without a server, among the contenders."""
WARM_UP_CONNECTIONS = 16
READY_SECONDS = 60
CEILING_SECONDS = 0.5
SPARE_ROUNDS = 1
Cell = tuple[str, str, int]
"""Contender, model, connections (0 for in process, which has none)."""


class NotStarted(InvalidRound):
    """A contender did not come up."""


@dataclass
class Measured:
    """All samples, and what was left out of them and why."""

    samples: dict[Cell, list[Sample]] = field(default_factory=dict)
    invalid: list[str] = field(default_factory=list)
    rounds: int = 0

    def add(self, cell: Cell, sample: Sample) -> None:
        self.samples.setdefault(cell, []).append(sample)


def measure(
    contenders: list[Contender],
    subjects: list[Subject],
    connections: list[int],
    rounds: int,
    seconds: int,
    limit_s: float,
    tell: Callable[[str], None],
) -> Measured:
    """`rounds` rounds, and up to `SPARE_ROUNDS` more where a contender had an invalid one.

    None is begun that would not end within `limit_s` by the length of the longest so far.
    """
    measured = Measured()
    began = time.monotonic()
    longest = 0.0
    for number in range(rounds + SPARE_ROUNDS):
        if number >= rounds and not measured.invalid:
            break
        if number and time.monotonic() - began + longest > limit_s:
            tell(f"no time for round {number + 1} of {rounds} within {limit_s:.0f} s")
            break
        started = time.monotonic()
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            tell(f"round {number + 1} of {rounds}: {contender.name}")
            try:
                try:
                    _turn(measured, contender, subjects, connections, seconds)
                except NotStarted as error:  # PyTriton gives its own processes a second to find each other
                    tell(f"once more: {error}")
                    _turn(measured, contender, subjects, connections, seconds)
            except (InvalidRound, ServingError) as error:
                measured.invalid.append(f"round {number + 1}, {contender.name}: {error}")
                tell(f"invalid: {measured.invalid[-1]}")
        tell(f"round {number + 1} of {rounds}: {IN_PROCESS}")
        for subject in subjects:
            images, _ = ceiling(subject.onnx_file, CEILING_SECONDS)
            measured.add((IN_PROCESS, subject.model, 0), Sample(images, 0.0, 0.0))
        measured.rounds = number + 1
        longest = max(longest, time.monotonic() - started)
    return measured


def _turn(
    measured: Measured, contender: Contender, subjects: list[Subject], connections: list[int], seconds: int
) -> None:
    """One contender, from start to stop. InvalidRound ends the turn; what was sound before it stays."""
    with contender.start(subjects) as started:
        _await_right(contender, started, subjects)
        for subject in subjects:
            call = contender.call(started.address, subject)
            drive(call, WARM_UP_CONNECTIONS, 1)
            for count in connections:
                measured.add((contender.name, subject.model, count), drive(call, count, seconds))
            check(contender, call, subject)  # and it still answers right


def _await_right(contender: Contender, started: Started, subjects: list[Subject]) -> None:
    """All models answer, and right: a port may listen before they are loaded. NotStarted where that does not come."""
    deadline = time.monotonic() + READY_SECONDS
    for subject in subjects:
        while True:
            try:
                started.check_alive()
            except InvalidRound as error:
                raise NotStarted(str(error)) from error
            try:
                check(contender, contender.call(started.address, subject), subject)
                break
            except InvalidRound as error:
                if time.monotonic() > deadline:
                    raise NotStarted(str(error)) from error
                time.sleep(0.1)
