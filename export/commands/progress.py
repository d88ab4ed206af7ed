"""What is being done and how long it may take: a moving line on a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export.proof.pace import Pace, duration, parse_time

EVERY = 20.0
"""Seconds between two plain lines; what takes less says nothing."""


@contextlib.contextmanager
def paced(screen: Console, begin: str, limit: str | None = None) -> Iterator[Pace]:
    """The pace of one command, its steps shown while it goes on.

    Args:
        screen: where it is shown; plain lines go to standard error, where they disturb no document.
        begin: what is done first.
        limit: `--time` as it was given.

    Raises:
        ConchError: the limit is no time.
    """
    pace = Pace(parse_time(limit) if limit else None)
    if screen.is_terminal and not screen.quiet:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=screen, transient=True) as shown:
            task = shown.add_task(escape(begin), total=None)
            pace.tell = lambda text: shown.update(task, description=escape(text))
            yield pace
        return
    lines = _Lines(begin)
    pace.tell = lines.now
    with lines:
        yield pace


class _Lines:
    """Says on standard error what is being done, whenever `EVERY` seconds have passed."""

    def __init__(self, begin: str) -> None:
        self._text, self._started = begin, time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._say, daemon=True)

    def now(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _say(self) -> None:
        while not self._ended.wait(EVERY):
            sys.stderr.write(f"{self._text} ({duration(time.monotonic() - self._started)} so far)\n")
            sys.stderr.flush()
