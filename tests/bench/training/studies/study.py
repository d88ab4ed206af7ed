"""What a study is: many small trainings that differ in depth and one more thing, and claims computed from them."""

from __future__ import annotations

import math
import multiprocessing
import signal
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@dataclass(frozen=True)
class Task:
    """One training."""

    depth: int
    """Layers with weights."""
    variant: str
    seed: int


@dataclass(frozen=True)
class Run:
    """What one training came to."""

    depth: int
    variant: str
    seed: int
    curve: tuple[float, ...]
    """A value an epoch; what it is, the study says."""
    loss: float
    """Cross-entropy of the whole training data in eval mode, after the last epoch; NaN where it diverged."""
    error: float
    """Share of the training data, 0..1, whose likeliest class is not the true one; measured as `loss`."""
    seconds: float
    """Processor time."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the textbook, what was measured for it, and whether it came out."""

    says: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Study:
    """Trainings and what is claimed of them."""

    settings: Any
    """A dataclass of numbers, shown with the result."""
    data: str
    """The name of the data set."""
    tasks: list[Task]
    train: Callable[[Task], Run]
    """Picklable; what it gives depends on the task alone."""
    claims: Callable[[Sequence[Run]], list[Claim]]


def run_all(study: Study, processes: int, title: str, console: Console) -> list[Run]:
    """Do all tasks, in as many processes, and show how far it is; runs in the order of the tasks.

    The longest begin, so that no core waits long for the last. With one process that is this one.

    An exception in a task, and one that interrupts, ends all others first.
    """
    found: dict[Task, Run] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("layers"),
               TimeElapsedColumn())  # fmt: skip
    longest_first = sorted(study.tasks, key=lambda task: -task.depth)
    with Progress(*columns, console=console) as progress, _many(processes) as many:
        bar = progress.add_task(title, total=sum(task.depth for task in study.tasks))
        for run in many(study.train, longest_first):
            found[Task(run.depth, run.variant, run.seed)] = run
            progress.advance(bar, run.depth)
    return [found[task] for task in study.tasks]


def chosen(runs: Sequence[Run], depth: int, variant: str) -> list[Run]:
    """The runs of one depth and variant: one a seed."""
    return [run for run in runs if (run.depth, run.variant) == (depth, variant)]


def median(values: Sequence[float]) -> float:
    """The median; NaN where a value is, so that nothing is claimed of runs that diverged."""
    return math.nan if any(math.isnan(value) for value in values) else statistics.median(values)


@contextmanager
def _many(processes: int) -> Iterator[Callable[[Callable[[Task], Run], Sequence[Task]], Iterable[Run]]]:
    """A `map` over processes with a thread of PyTorch each, that leave Ctrl-C to this one; all ended with the block."""
    if processes == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of PyTorch's threads
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is ignored is inherited
    try:
        pool = context.Pool(processes, torch.set_num_threads, (1,))
    finally:
        signal.signal(signal.SIGINT, handler)
    with pool:
        yield pool.imap_unordered
