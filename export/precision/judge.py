"""Who judges a variant, and what may be lost: a recipe's score, a function of the user's, or fp32's own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from conch.contracts.errors import ConchError
from training.checkpoints.checkpoint import Checkpoint
from training.predict import in_batches
from training.score import AllowedLoss, Metric, Predict


@dataclass(frozen=True)
class Judged:
    """What a judge found of one file."""

    score: tuple[Metric, ...]
    cannot_tell: tuple[str, ...] = ()
    """Where so few items judge that a loss as large as is allowed may be chance, a sentence a metric."""


class Judge(Protocol):
    """Gives figures of a file, in the same way for fp32 and every variant."""

    @property
    def described(self) -> str:
        """What judges, for table and manifest."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What the user has to know of how it judges, a sentence each."""
        ...

    @property
    def fp32(self) -> tuple[Metric, ...]:
        """The figures that variants are held against."""
        ...

    @property
    def allowed(self) -> Mapping[str, AllowedLoss]:
        """By metric, what may be lost; what is not named is only told."""
        ...

    def judge(self, predict: Predict) -> Judged:
        """The figures of a file, in the order of `fp32`."""
        ...


def losses(judge: Judge, variant: Sequence[Metric]) -> list[str]:
    """Where more was lost than is allowed, a sentence a metric."""
    return [
        f"{one.name} is {other}, fp32's is {one}; {judge.allowed[one.name]} {one.unit}".rstrip() + " may be lost"
        for one, other in zip(judge.fp32, variant, strict=True)
        if one.name in judge.allowed and not judge.allowed[one.name].allows(one, other)
    ]


def chance_of_share(share: float, items: int) -> float:
    """What chance alone moves a share of `items` by, as a share: one item at least, two standard errors at best."""
    share = min(max(share, 1 / items), 1 - 1 / items) if items > 1 else 0.5
    return max(1 / items, 2 * float(np.sqrt(share * (1 - share) / items)))


def held_out_items(data: Any) -> int:
    """How many held-out items a recipe's data have, as they say or as they hold; 0 where neither can be counted."""
    said = data.describe().get("held_out")
    if isinstance(said, int):
        return said
    held_out = getattr(data, "held_out", ())
    return len(held_out) if isinstance(held_out, Sized) else 0


class RecipeJudge:
    """The recipe's own score on its held-out items."""

    described = "the recipe's score"
    remarks: Sequence[str] = ()

    def __init__(self, checkpoint: Checkpoint, name: str, largest_batch: int, fp32: tuple[Metric, ...]) -> None:
        """Args:
        checkpoint: whose recipe judges.
        name: of the first model that it serves.
        largest_batch: the most rows that model takes.
        fp32: the score of its weights.

        Raises:
            ConchError: the recipe does not say what may be lost, or of a metric it does not have.
        """
        self.fp32 = fp32
        self.allowed: Mapping[str, AllowedLoss] = checkpoint.recipe.allowed_loss
        self._checkpoint, self._largest_batch = checkpoint, largest_batch
        names = [metric.name for metric in fp32]
        if not self.allowed or not set(self.allowed) <= set(names):
            raise ConchError(
                f"{name}: the recipe's allowed_loss names {sorted(self.allowed) or 'no metric'}, its score has "
                f"{names}; say what a lower precision may lose, as in allowed_loss = {{{names[0]!r}: AllowedLoss(0.5)}}"
            )

    def judge(self, predict: Predict) -> Judged:
        batched = in_batches(predict, self._largest_batch)
        score = tuple(self._checkpoint.recipe.score(batched, self._checkpoint.data))
        return Judged(score, tuple(self.cannot_tell()))

    def cannot_tell(self) -> list[str]:
        """What the held-out items are too few for: known before any variant is."""
        items = held_out_items(self._checkpoint.data)
        told = []
        for metric in self.fp32:
            allowed = self.allowed.get(metric.name)
            if metric.unit != "%" or allowed is None or allowed.relative or items == 0:
                continue
            chance = 100 * chance_of_share(metric.value / 100, items)
            if chance > allowed.amount:
                told.append(
                    f"{metric.name} is judged on {items} held-out items, where chance alone moves it by {chance:.1f} "
                    f"points: whether {allowed} was lost it cannot tell"
                )
        return told
