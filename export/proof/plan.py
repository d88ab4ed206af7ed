"""Which runs a grid has, in which order, and which of them were left out for want of time."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from export.proof.cells import EXAMPLES, where
from export.proof.pace import Pace, duration


@dataclass(frozen=True)
class Planned:
    """One run of the grid."""

    batch: int
    sizes: dict[str, int]
    kind: str
    item: int = 0
    """Which of the examples of its kind: of a model without batches a run has one."""

    @property
    def work(self) -> float:
        """What its time is likely to follow: the values that go in, and rows of examples are run alone as well."""
        return self.batch * math.prod(self.sizes.values()) * (2 if self.kind in EXAMPLES else 1)


class Plan:
    """All runs of a grid, as far as the time goes; the first is always made."""

    def __init__(self, runs: list[Planned], pace: Pace, name: str) -> None:
        """Take `runs` in their order; with a limit of time examples first, small ones before, two rows before one."""
        self._pace, self._name = pace, name
        self._all = len(runs)
        self._waiting = runs
        if pace.limit is not None:
            self._waiting = sorted(runs, key=lambda run: (run.kind not in EXAMPLES, run.batch == 1, run.work))

    def __iter__(self) -> Iterator[Planned]:
        """Each run once, until the time is over."""
        begun, done = time.monotonic(), 0.0
        all_work = sum(run.work for run in self._waiting)
        while self._waiting and not (done and self._pace.over):
            run = self._waiting[0]
            left = self._pace.left(begun, done, all_work)
            place = self._all - len(self._waiting) + 1
            self._pace.tell(
                f"{self._name}: run {place} of {self._all} ({where(run.batch, run.sizes, run.kind, run.item)}){left}"
            )
            yield run
            del self._waiting[0]
            done += run.work

    def left_out(self) -> tuple[str, ...]:
        """The runs that did not fit into the time, a sentence for each kind of inputs."""
        if not self._waiting:
            return ()
        assert self._pace.limit is not None
        kinds: dict[str, list[Planned]] = defaultdict(list)
        for run in self._waiting:
            kinds[run.kind].append(run)
        parts = [f"{len(runs)} on {kind} inputs ({_described(runs)})" for kind, runs in kinds.items()]
        return (
            f"{len(self._waiting)} of {self._all} runs did not fit into {duration(self._pace.limit)}: "
            f"{', '.join(parts)}",
        )


def _described(runs: list[Planned]) -> str:
    batches = sorted({run.batch for run in runs})
    said = [f"batch {', '.join(map(str, batches))}"]
    for axis in runs[0].sizes:
        said.append(f"{axis} {', '.join(map(str, sorted({run.sizes[axis] for run in runs})))}")
    return "; ".join(said)
