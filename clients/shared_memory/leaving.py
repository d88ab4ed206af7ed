"""What is done about shared memory when its process ends: nobody else would give it back before the machine is off.

At the interpreter's exit, and at SIGTERM where the program has no handler of its own. Of a process that is killed the
next client finds what is left.
"""

import os
import signal
import threading
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from clients.pipeline import finished

if TYPE_CHECKING:
    from clients.shared_memory.memory import SharedMemory

LEAVE_S = 2.0
"""A process that ends waits so long at most for its servers."""

expected: set["SharedMemory"] = set()
"""Those that have regions."""
_prepared_in = 0


def expect(memory: "SharedMemory") -> None:
    """See that it is cleared up behind this process."""
    prepare()
    expected.add(memory)


def prepare() -> None:
    """Once in each process, in its main thread if it can be."""
    global _prepared_in
    if _prepared_in != os.getpid():
        _prepared_in = os.getpid()
        expected.clear()  # the parent's are its own
        Finalize(None, _leave, exitpriority=0)  # unlike atexit's, in the children of multiprocessing, too
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)


class _Forking(threading.local):
    """A child begins as without this. Python drops what signals a child gets before it is one: they wait till then."""

    def before(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def in_parent(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def in_child(self) -> None:
        if signal.getsignal(signal.SIGTERM) is _terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


_forking = _Forking()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _forking.before(),
        after_in_parent=lambda: _forking.in_parent(),
        after_in_child=lambda: _forking.in_child(),
    )


def _leave() -> None:
    for memory in list(expected):
        memory.let_go()
    for memory in list(expected):
        with suppress(Exception):  # there is nobody left to tell
            transport = memory.connect()
            operation = memory.ended()
            finished(transport, operation, partial(next, operation))


def _terminated(number: int, frame: Any) -> None:
    """Clear up, and end as without this."""
    # In another thread: this one may hold what is waited for.
    leaving = threading.Thread(target=_leave, daemon=True)
    leaving.start()
    leaving.join(LEAVE_S)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
