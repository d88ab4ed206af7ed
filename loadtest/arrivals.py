"""When requests arrive, decided before any is sent: an open loop does not ask whether the server is ready."""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from conch.contracts.errors import ConchError

Pattern = Literal["poisson", "constant", "closed"]
RateAt = Callable[[float], float]


class ArrivalsError(ConchError):
    """The arrivals cannot be made; the message is one line and says why."""


def arrivals(
    pattern: str, rate: float, seconds: float, seed: str, share: int = 0, shares: int = 1, replay: Path | None = None
) -> Iterator[float]:
    """Seconds from the start at which requests arrive, for the share-th of `shares` generators.

    All shares together make `rate` requests/s: of independent Poisson processes of a part of the rate, of every
    shares-th of the constant steps, or of the times in the file. Raises ArrivalsError for a file that cannot be used.
    """
    if replay is not None:
        return (time for time in read_replay(replay)[share::shares] if time < seconds)
    if pattern == "constant":
        return ((share + place * shares) / rate for place in range(math.ceil((seconds * rate - share) / shares)))
    return poisson(lambda _: rate / shares, rate / shares, seconds, random.Random(f"{seed}:{share}"))


def poisson(rate_at: RateAt, highest: float, seconds: float, draw: random.Random) -> Iterator[float]:
    """A Poisson process whose rate at each time is `rate_at`, never above `highest` (Lewis & Shedler's thinning)."""
    time = 0.0
    while (time := time + draw.expovariate(highest)) < seconds:
        if draw.random() * highest < rate_at(time):
            yield time


def read_replay(path: Path) -> list[float]:
    """Times in seconds from a start, one a line, none before the one above it.

    Raises ArrivalsError naming the line that is not so.
    """
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise ArrivalsError(f"cannot read {path}: {reason}") from error
    times: list[float] = []
    for number, line in enumerate(lines, 1):
        try:
            time = float(line)
        except ValueError:
            time = math.nan
        if not math.isfinite(time) or time < (times[-1] if times else 0.0):
            raise ArrivalsError(
                f"{path}: time {number} must be in seconds and not before the one above, got {line[:40]!r}"
            )
        times.append(time)
    if not times:
        raise ArrivalsError(f"{path}: holds no times")
    return times
