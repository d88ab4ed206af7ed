"""A process forks while none of its calls is under way: gRPC aborts a child that was forked in the middle of one.

Source: grpc/grpc doc/fork_support.md.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Calls:
    """Those of a process that are under way, in whatever threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: list[int] = []  # the thread of each, 0 of one that none waits in
        self._forks = 0
        if hasattr(os, "register_at_fork"):  # where processes can fork
            os.register_at_fork(before=self._wait, after_in_parent=self._go_on, after_in_child=self._begin_anew)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Within the block no other thread forks. Not to be nested: the inner one would wait for a fork, and that for
        the outer one."""
        thread = threading.get_ident()
        with self._changed:
            if self._forks:
                self._changed.wait_for(lambda: not self._forks)
            self._running.append(thread)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(thread)
                if self._forks:
                    self._changed.notify_all()

    def going_on(self, when_done: Callable[[Callable[[object], None]], None]) -> None:
        """Within `call`'s block: another has begun that goes on behind it until `when_done` calls what it is given."""
        changed = self._changed
        with changed:
            self._running.append(0)

        def ended(_: object) -> None:
            with changed:
                if changed is self._changed:  # not in a child, which has none of them
                    self._running.remove(0)
                    changed.notify_all()

        when_done(ended)

    def _wait(self) -> None:
        """Until all calls have ended, each of which has a timeout; but for one that this thread is in itself."""
        own = threading.get_ident()
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: all(thread == own for thread in self._running))

    def _go_on(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def _begin_anew(self) -> None:
        """Other threads, with what they held and waited for, are not in the child."""
        own = threading.get_ident()
        self._changed = threading.Condition()
        self._running = [thread for thread in self._running if thread == own]
        self._forks = 0
