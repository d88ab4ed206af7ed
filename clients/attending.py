"""What runs a client's part in trials beside its calls: a thread, or a task of the event loop."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

END_S = 1.0
"""What it is given to end when its client is closed."""


class Attendant:
    """Has a daemon thread do `work`, from the first call on; a forked child's client has one of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._process = 0
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Where it has not begun in this process, begin."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._thread = threading.Thread(target=self._work, name="conch-rollouts", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Wait for its end, a while."""
        if self._thread is not None and self._process == os.getpid():
            self._thread.join(END_S)


class AsyncAttendant:
    """As `Attendant`, with a task."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Where it has not begun, begin."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def end(self) -> None:
        """Cancel it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
