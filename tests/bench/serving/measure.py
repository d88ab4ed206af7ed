"""Alternating rounds: in each, every contender is started, checked, driven and stopped; the first one changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.errors import ServingError
from tests.bench.serving.contenders import READY_SECONDS, Contender, Subject, check
from tests.bench.serving.in_process import ceiling
from tests.bench.serving.wrk import InvalidRound, Sample, drive

IN_PROCESS = "in process"
"""ONNX Runtime without a server, among the contenders."""
WARM_UP_CONNECTIONS = 16
CEILING_SECONDS = 0.5
Cell = tuple[str, str, int]
"""Contender, model, connections (0 for in process, which has none)."""


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
    """Up to `rounds` rounds; none is begun that would not end within `limit_s` by the length of the longest so far."""
    measured = Measured()
    began = time.monotonic()
    longest = 0.0
    for number in range(rounds):
        if number and time.monotonic() - began + longest > limit_s:
            tell(f"no time for round {number + 1} of {rounds} within {limit_s:.0f} s")
            break
        started = time.monotonic()
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            tell(f"round {number + 1} of {rounds}: {contender.name}")
            try:
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
    with contender.start(subjects) as address:
        _await_right(contender, address, subjects)
        for subject in subjects:
            call = contender.call(address, subject)
            check(contender, call, subject)
            drive(call, WARM_UP_CONNECTIONS, 1)
            for count in connections:
                measured.add((contender.name, subject.model, count), drive(call, count, seconds))
            check(contender, call, subject)  # and it still answers right


def _await_right(contender: Contender, address: str, subjects: list[Subject]) -> None:
    """A port may listen before the models are loaded: wait until all answer."""
    deadline = time.monotonic() + READY_SECONDS
    for subject in subjects:
        while True:
            try:
                check(contender, contender.call(address, subject), subject)
                break
            except InvalidRound:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
