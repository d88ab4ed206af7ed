"""What a judge hands back: figures, and what a reader should see beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from conch.contracts.errors import ConchError
from training.recipe import Metric


@dataclass(frozen=True)
class Table:
    """A small table of the page; cells are shown as they are."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Judgement:
    """The outcome of judging a checkpoint."""

    metrics: tuple[Metric, ...]
    how: str
    """How it was judged, as a paragraph of the page."""
    tables: tuple[Table, ...] = ()
    pictures: dict[str, str] = field(default_factory=dict)
    """File in the judge's folder to the caption."""
    text: str = ""
    """Something that the model wrote."""


def metric_named(name: str, metrics: Sequence[Metric]) -> Metric:
    """The metric of this name.

    Raises:
        ConchError: there is none.
    """
    for metric in metrics:
        if metric.name == name:
            return metric
    raise ConchError(f"no metric {name!r}; there are: {', '.join(metric.name for metric in metrics)}")
