"""A sleep that ends within microseconds of a given moment, for greenlets.

gevent's own sleep ends up to a millisecond late, for epoll counts in milliseconds. Linux's timerfd does not: it is a
file that becomes readable when the moment has come (`man timerfd_create`). Python has it from 3.13 on; before, through
ctypes.
"""

import contextlib
import ctypes
import os
import platform
import struct
import time
from types import TracebackType
from typing import Self

import gevent

CLOCK_MONOTONIC, ABSOLUTE = 1, 1
NONBLOCKING_CLOSED_ON_EXEC = os.O_NONBLOCK | os.O_CLOEXEC
PR_SET_TIMERSLACK = 29
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # the number of the system call

now = time.perf_counter
"""Seconds on CLOCK_MONOTONIC, which is what Python's perf_counter reads on Linux."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _ask_for_short_slices() -> None:
    """A thread that asks for slices of 0.1 ms is let in sooner when it wakes on a busy core; it gets no more CPU than
    others for that. From Linux 6.12 on (`man sched_setattr`); before, nothing changes."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is not None:
        # size, policy (0: as before), flags, nice, priority, runtime in ns, deadline, period
        own = os.getpriority(os.PRIO_PROCESS, 0)
        attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, own, 0, 100_000, 0, 0)
        ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, attributes, 0)


class PreciseSleep:
    """A timer of one greenlet; the hub is told to watch it for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(CLOCK_MONOTONIC, NONBLOCKING_CLOSED_ON_EXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        # The kernel may end a sleep 50 us late to save wake-ups, unless the thread asks otherwise.
        self._libc.prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
        _ask_for_short_slices()
        self._hub = gevent.get_hub()
        self._watcher = self._hub.loop.io(self._descriptor, 1)

    def until(self, moment: float) -> None:
        """Return at `moment` (of `now`), at once where it has passed."""
        seconds, fraction = divmod(moment, 1.0)
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(int(seconds), int(fraction * 1e9)))
        if moment <= now() or self._libc.timerfd_settime(self._descriptor, ABSOLUTE, ctypes.byref(spec), None) != 0:
            return
        self._hub.wait(self._watcher)
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)
