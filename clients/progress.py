"""A bar that shows how far something is, on a terminal."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clients.terminal import Terminal


def progress(console: Console | None = None) -> Progress:
    """A bar that leaves nothing behind: on `console` where that is a terminal, so that lines printed there stand above
    it, else on stderr, and nothing at all where that is none either."""
    shown = console if console and console.is_terminal else Terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # What is printed meanwhile is not led to the bar's console, which may be another stream than that of the answers.
    return Progress(
        *columns,
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )


@contextmanager
def advancing(description: str, items: Any) -> Iterator[Callable[[], None]]:
    """What tells a bar that one more of `items` is done; it knows how many there are where they know."""
    with progress() as bar:
        task = bar.add_task(description, total=operator.length_hint(items, 0) or None)
        yield lambda: bar.advance(task)
