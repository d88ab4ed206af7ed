"""How far a proof is, how long the rest will take, and when it has to be cut."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from conch.contracts.errors import ConchError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_time(text: str) -> float:
    """Seconds of `90s`, `5m`, `1h` or a plain number.

    Raises:
        ConchError: it is none of them.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or float(found[1]) == 0:
        raise ConchError(f"--time {text}: it must be a number above 0 with s, m or h, as in 90s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2] or "s"]


@dataclass
class Pace:
    """The time of one command; work is counted in values that go in, which is what most runs' time follows."""

    limit: float | None = None
    """Seconds from the start until nothing more is begun; None for all that there is to do."""
    tell: Callable[[str], None] = lambda _: None
    """Told what is being done, after every step."""
    started: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return self.limit is not None and time.monotonic() - self.started >= self.limit

    def left(self, begun: float, done: float, all_work: float) -> str:
        """How long the rest takes, in words, by what was done since `begun` (`time.monotonic`)."""
        if not done:
            return ""
        seconds = (time.monotonic() - begun) / done * (all_work - done)
        if self.limit is not None:
            seconds = min(seconds, max(0.0, self.limit - (time.monotonic() - self.started)))
        return f", about {duration(max(1.0, seconds))} left"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
