"""Requests to be made; those of a model that keeps a state in sequences: in order, one under way at a time."""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from loadtest.golden import Golden

# Correlation ids that no other run at the same server has, nor a worker beside this one.
_NUMBERS = itertools.count(random.SystemRandom().getrandbits(40) << 22)


@dataclass(slots=True)
class Arrival:
    """One request to be made: when (seconds of `clock.now`), to what, with which items, and whether it counts or is
    warm-up."""

    due: float
    golden: Golden
    items: list[int]
    counted: bool
    offset: float = 0.0  # of `due`, from the first counted moment
    check: bool = True  # compare the answer
    woken: float = 0.0  # when the generator came to it
    ready: float = 0.0  # when the one before it in its sequence was answered, where that was after `due`
    step: Step | None = None  # in a sequence, where the model keeps a state
    packed: Any = None  # ready to be sent, where there was time for it before


@dataclass(slots=True)
class Sequence:
    """One correlation id; the server keeps a state for it from the request with START to the one with END."""

    id: int = field(default_factory=lambda: next(_NUMBERS))
    waiting: deque[Arrival] = field(default_factory=deque)
    under_way: bool = False
    broken: bool = False  # a request got no answer: what the server's state is now, nobody knows

    def may_go(self, arrival: Arrival) -> bool:
        """Whether it can be sent now; otherwise it is kept until those before it are answered."""
        if self.under_way:
            self.waiting.append(arrival)
            return False
        self.under_way = True
        return True

    def answered(self, broken: bool) -> Arrival | None:
        """The request that was under way has ended; gives the one that comes next, where it is due already."""
        self.broken = self.broken or broken
        self.under_way = bool(self.waiting)
        return self.waiting.popleft() if self.waiting else None


@dataclass(slots=True, frozen=True)
class Step:
    """A request's place in its sequence, from 0."""

    sequence: Sequence
    number: int
    start: bool
    end: bool
