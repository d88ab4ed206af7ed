"""SIGINT, SIGTERM and SIGHUP as one exception, so that a `with` block is left in order on each."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """This process is asked to end: by Ctrl-C (SIGINT), by the system (SIGTERM), by a closed terminal (SIGHUP).

    As `KeyboardInterrupt`, no `Exception`.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that ended by this signal."""
        return 128 + self.number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block those signals raise `Interrupted` in the main thread."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
