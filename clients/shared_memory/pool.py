"""Regions that are kept for the next call, each lent to one at a time."""

import os
import threading
from collections import deque
from collections.abc import Callable

from clients.shared_memory.region import Record, Region

SMALLEST = 1 << 16
SPARE = 1.25
"""A region is made so much larger than it has to be, so that tensors which grow do not need a new one each time."""

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_fork)


class Lease:
    """A region that is one call's alone, and its answers' that are views of it, until the last of them is gone.

    Then another call gets it, unless the server might write into it still, or a forked child has such views, too: the
    parent's next answer would change them under its eyes.
    """

    def __init__(self, pool: "Pool", region: Region) -> None:
        self.pool, self.region = pool, region
        self.settled = False
        """Whether the server is surely done with it."""
        self._forks, self._ended = _forks, False

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        """Once. Wherever the interpreter collects it, in a thread that holds the pool's lock say."""
        if self._ended:
            return
        self._ended = True
        self.pool.lent.discard(self.region)
        if os.getpid() != self.region.record.process:
            return
        done = self.settled and not self.region.record.doubted
        if done and self._forks == _forks and not self.pool.closed:
            self.pool.returned.append(self.region)
        else:
            self.pool.retire(self.region)


class Pool:
    """As many regions as calls had at once; of those that are free the smallest makes way for a larger one."""

    def __init__(self, make: Callable[[int], Region]) -> None:
        self.closed = False
        self.lent: set[Region] = set()
        """Those that answers are views of."""
        self.returned: deque[Region] = deque()
        self.retired: deque[Record] = deque()
        """Of those that are not used again: perhaps servers know them still."""
        self._make, self._lock = make, threading.Lock()
        self._free: list[Region] = []

    def lease(self, size: int) -> Lease:
        """A region of at least `size` bytes. Raises ClientError where there is no room for one."""
        with self._lock:
            self._take_back()
            fitting = [region for region in self._free if region.size >= size]
            region = min(fitting, key=lambda region: region.size, default=None)
            if region is not None:
                self._free.remove(region)
            elif self._free:
                smallest = min(self._free, key=lambda region: region.size)
                self._free.remove(smallest)
                self.retire(smallest)
                del smallest  # its memory, before there is more
        return Lease(self, region or self._make(max(SMALLEST, int(size * SPARE))))

    def retire(self, region: Region) -> None:
        """Take its name away, and have no call get it again."""
        region.record.unlink()
        self.retired.append(region.record)

    def close(self) -> None:
        """Retire all that are free, and each of the others as it comes back."""
        with self._lock:
            self.closed = True
            self._take_back()
            while self._free:
                self.retire(self._free.pop())

    def _take_back(self) -> None:
        while self.returned:
            self._free.append(self.returned.popleft())
