"""Looks after the processes of a server's models, in a thread: tells of the dead, kills what stands still."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from serving.server.heartbeat import LOOK_SECONDS, Heartbeats
from serving.server.stubs import LATE_SECONDS, Death, Stubs

RETIRED_SECONDS = 10.0
"""For how long one that is no more needed may do nothing before it is killed."""


class StubWatch:
    """Watches `stubs` from `start` on until `stop`."""

    def __init__(self, stubs: Stubs) -> None:
        self.stubs = stubs
        self._heartbeats = Heartbeats()
        self._deaths: list[Death] = []
        self._stalled: dict[int, float] = {}
        self._none_since = time.monotonic()
        self._retired: set[int] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stub-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; those that are to be killed are."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def deaths(self) -> list[Death]:
        """Those that have died since the last call, and were needed."""
        with self._lock:
            found, self._deaths = self._deaths, []
        return found

    def unseen(self, loading: Sequence[str]) -> Death | None:
        """The end of a process that one of these models waits for, though it was over before anybody looked.

        Whose it was only the models tell: where some load, and for `LATE_SECONDS` none of them has had a process, they
        wait for dead ones. To be asked while a server starts, which is when configurations are completed.
        """
        with self._lock:
            now, living = time.monotonic(), {model for model, _ in self.stubs.living.values()}
            if not loading or living.intersection(loading):
                self._none_since = now
            dead = {pid: status for pid, (status, at) in self.stubs.unseen.items() if now - at > LATE_SECONDS}
            if now - self._none_since <= LATE_SECONDS or not dead:
                return None
            pid, status = next(iter(dead.items()))
            death = Death(loading[0], loading[0], status, self.stubs.starved, pid)
            self.stubs.deaths[death.instance] = death
            return death

    def look(self) -> None:
        """Look once."""
        with self._lock:
            now = time.monotonic()
            for death in self.stubs.look():
                self._heartbeats.forget(death.pid)
                if death.pid not in self._retired:
                    told = replace(death, stalled=self._stalled.get(death.pid))
                    self.stubs.deaths[death.instance] = told
                    self._deaths.append(told)
            for pid in self.stubs.living:
                if (still := self._heartbeats.stalled(pid, now)) is not None:
                    self._stalled[pid] = still
                    _kill(pid)
                elif pid in self._retired and self._heartbeats.quiet(pid, now) > RETIRED_SECONDS:
                    _kill(pid)

    def living(self) -> Mapping[int, tuple[str, str]]:
        """Process -> its model and its instance; without those that are no more needed."""
        with self._lock:
            return {pid: names for pid, names in self.stubs.living.items() if pid not in self._retired}

    def retire(self, pids: Iterable[int]) -> None:
        """These are replaced: nobody is told how they end, and they are killed when they have done nothing for a while.

        Triton ends them itself, but not where a request of their model was given up: it counts as under way for ever.
        """
        with self._lock:
            self._retired |= set(pids)

    def quiet(self, seconds: float) -> bool:
        """Whether no process has run a request in the last `seconds` of watching; true where none lives."""
        with self._lock:
            now = time.monotonic()
            return min((self._heartbeats.quiet(pid, now) for pid in self.stubs.living), default=math.inf) > seconds

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
