"""A load that is told to end early ends in order: what was measured until then is judged and written."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether, and by which signal, the run was told to end."""

    def __init__(self) -> None:
        self.signal = 0


@contextlib.contextmanager
def told_to_stop() -> Iterator[Stop]:
    """Within the block, which has to hold all that makes and writes results, Ctrl-C, SIGTERM and SIGHUP end nothing:
    the first of them is kept, to be looked at."""
    stop = Stop()

    def keep(number: int, _: FrameType | None) -> None:
        stop.signal = stop.signal or number

    before = {number: signal.signal(number, keep) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(number: int) -> int:
    """What a shell reports of a process that ended by this signal."""
    return 128 + number
