"""How long to wait before the next try of what keeps failing."""

import time
from collections import deque
from collections.abc import Callable


class Backoff:
    """The first try is at once, each further one waits twice as long as that before.

    Args:
        first: Seconds that the second try waits.
        longest: Seconds that none waits longer than.
        forget: Seconds after which a try counts no more.
        clock: Seconds, by a clock that does not jump.
    """

    def __init__(
        self, first: float, longest: float, forget: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first, self._longest, self._forget, self._clock = first, longest, forget, clock
        self._tries: deque[float] = deque()

    def next(self) -> float:
        """Count a try; the seconds to wait before it."""
        now = self._clock()
        while self._tries and now - self._tries[0] > self._forget:
            self._tries.popleft()
        wait = min(self._first * 2.0 ** (len(self._tries) - 1), self._longest) if self._tries else 0.0
        self._tries.append(now)
        return wait

    @property
    def tries(self) -> int:
        """How many count."""
        return len(self._tries)
