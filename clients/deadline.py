"""The time a call may take, all of it: looking a name up, connecting, sending, waiting and reading."""

import time
from numbers import Real

from clients.errors import ClientError

LONGEST_S = 30 * 86_400.0
"""A month; sockets and gRPC take no timeout of any size."""


class Deadline:
    """A moment on the monotonic clock, `seconds` after it was made."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.paused = 0.0
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def timeout(self) -> float:
        """As `left`, but raises TimeoutError when it is over: to what takes a timeout, 0 means something else."""
        if not (left := self.left()):
            raise TimeoutError
        return left

    def pause(self, seconds: float) -> None:
        """Later by `seconds`, in which nobody worked on the call."""
        self.paused += seconds
        self._end += seconds

    def within(self, seconds: float) -> "Deadline":
        """One that ends after `seconds`, or with this one."""
        return Deadline(min(seconds, self.left()))


def checked_timeout(seconds: float) -> float:
    """A timeout that can be kept. Raises ClientError for any other, as nan, infinity or one that is no number."""
    if isinstance(seconds, Real) and not isinstance(seconds, bool) and 0 < seconds <= LONGEST_S:
        return float(seconds)
    raise ClientError(f"a timeout of {seconds!r} cannot be kept; allowed are seconds above 0, at most {LONGEST_S:,.0f}")
