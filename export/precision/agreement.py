"""Judges a variant by fp32's own answers on given inputs: how often they agree, or how far they are from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conch.contracts.errors import ConchError
from export.precision.judge import Judged, chance_of_share
from export.precision.original import Original
from training.score import AllowedLoss, Metric, Predict

LOST_ANSWERS, LOST_LENGTH = AllowedLoss(1.0), AllowedLoss(5.0)
"""What may be lost where nobody says otherwise: 1 of 100 answers, 5 % of the answers' length."""

Figure = tuple[float, float]
"""In percent, and what chance moves it by."""


@dataclass(frozen=True)
class _Output:
    """How the answers of one output are compared."""

    name: str
    metric: Metric
    """fp32's own."""
    allowed: AllowedLoss
    compare: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], Figure]
    """Answers of fp32 and of a variant, by item."""


class AgreementJudge:
    """Compares a variant's answers with fp32's, output by output.

    Of an output of classes (named so, or probabilities) and of whole numbers, truths and text it is the share of
    answers that are the same, of classes the largest of the last axis. Of all others it is the relative error: the
    lengths (Euclidean) of the differences over those of fp32's answers, an answer an item, each summed over the items.
    """

    def __init__(
        self, original: Original, predict: Predict, classes: Sequence[str], allowed: AllowedLoss | None, source: str
    ) -> None:
        """Args:
        original: whose examples are the inputs; they have to be real.
        predict: runs its fp32 file.
        classes: outputs whose last axis counts classes.
        allowed: what may be lost of each figure, in points; 1 of agreement and 5 of error without.
        source: of the inputs, for manifest and table.

        Raises:
            ConchError: there is no output of a name, or what may be lost is a share of fp32's own figure.
        """
        if unknown := sorted(set(classes) - set(original.outputs)):
            raise ConchError(
                f"--classes {unknown[0]}: there is no such output; there are {', '.join(original.outputs)}"
            )
        if allowed is not None and allowed.relative:
            raise ConchError("--allowed-loss: what may be lost of the agreement are points, as in --allowed-loss 1")
        self._original = original
        self._expected = list(self._answers(predict))
        self._outputs = [self._output(name, name in classes, allowed) for name in original.outputs]
        self.items = len(self._expected)
        self.described = f"agreement with fp32 on {self.items} items of {source}"
        self.fp32 = tuple(output.metric for output in self._outputs)
        self.allowed: Mapping[str, AllowedLoss] = {output.metric.name: output.allowed for output in self._outputs}

    def judge(self, predict: Predict) -> Judged:
        """The figures of a variant."""
        got = list(self._answers(predict))
        score, told = [], []
        for output in self._outputs:
            value, chance = output.compare(
                [answer[output.name] for answer in self._expected], [answer[output.name] for answer in got]
            )
            score.append(Metric(output.metric.name, value, "%", output.metric.higher_is_better))
            lost = abs(value - output.metric.value)
            # That more was lost than is allowed may be chance too, but then nothing is published that should not be.
            if lost <= output.allowed.amount < (chance if output.metric.higher_is_better else lost + chance):
                told.append(
                    f"{output.metric.name} is judged on {self.items} item{'s' * (self.items != 1)}, where chance alone "
                    f"moves it by {chance:.2g} points: whether {output.allowed} was lost it cannot tell"
                )
        return Judged(tuple(score), tuple(told))

    @property
    def remarks(self) -> Sequence[str]:
        """Which outputs are judged by their error though their last axis may count classes: nobody said."""
        return [
            f"{output.name} is judged by its error; where its last axis counts classes: --classes {output.name}"
            for output in self._outputs
            if output.compare is _error and self._expected[0][output.name].shape[-1:] not in ((), (1,))
        ]

    def _answers(self, predict: Predict) -> Iterator[dict[str, np.ndarray]]:
        """By item."""
        for feed in self._original.feeds(self._original.examples):
            outputs = predict(feed)
            if not self._original.largest_batch:
                yield outputs
                continue
            for row in range(len(next(iter(feed.values())))):
                yield {name: array[row] for name, array in outputs.items()}

    def _output(self, name: str, is_classes: bool, allowed: AllowedLoss | None) -> _Output:
        answers = [answer[name] for answer in self._expected]
        numbers = all(answer.ndim and answer.dtype.kind == "f" for answer in answers)
        if is_classes and not numbers:
            raise ConchError(f"--classes {name}: its answers have no last axis of floating-point numbers")
        if is_classes or (numbers and all(map(_are_probabilities, answers))):
            return _Output(name, Metric(f"agreement of {name}", 100, "%"), allowed or LOST_ANSWERS, _same_class)
        if answers[0].dtype.kind != "f":
            return _Output(name, Metric(f"agreement of {name}", 100, "%"), allowed or LOST_ANSWERS, _same)
        metric = Metric(f"relative error of {name}", 0, "%", higher_is_better=False)
        return _Output(name, metric, allowed or LOST_LENGTH, _error)


def _are_probabilities(answer: np.ndarray) -> bool:
    several = answer.shape[-1] > 1
    return several and bool((answer >= 0).all() and (np.abs(answer.sum(axis=-1) - 1) < 1e-3).all())


def _same_class(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> Figure:
    return _same(
        [answer.argmax(axis=-1) for answer in expected],
        # Where a variant gives no number, argmax would give a place all the same.
        [np.where(np.isnan(answer).any(axis=-1), -1, answer.argmax(axis=-1)) for answer in got],
    )


def _same(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> Figure:
    shares = [
        float(np.mean(one == other)) if one.shape == other.shape and one.size else float(one.shape == other.shape)
        for one, other in zip(expected, got, strict=True)
    ]
    # fp32 agrees with itself on all of them: the variant's own share says what chance does.
    return 100 * float(np.mean(shares)), 100 * chance_of_share(float(np.mean(shares)), len(shares))


def _error(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> Figure:
    lengths, distances = np.array([_length(one, other) for one, other in zip(expected, got, strict=True)]).T
    total = float(lengths.sum())
    if not np.isfinite(distances).all() or total == 0:
        return (0.0 if not distances.any() else float("inf")), 0.0
    error = float(distances.sum()) / total
    if len(lengths) == 1:
        return 100 * error, 100.0  # of others one item says nothing
    # Of a ratio of two sums: the items' own departures from it.
    spread = float(np.std(distances - error * lengths, ddof=1)) / np.sqrt(len(lengths)) / float(lengths.mean())
    return 100 * error, 200 * spread


def _length(expected: np.ndarray, got: np.ndarray) -> tuple[float, float]:
    """Of fp32's answer and of the difference; what only one of them has a number for is infinitely far."""
    if expected.shape != got.shape:
        return 0.0, float("inf")
    one, other = expected.astype(np.float64), got.astype(np.float64)
    both = np.isfinite(one) & np.isfinite(other)
    if not np.array_equal(one[~both], other[~both], equal_nan=True):
        return 0.0, float("inf")
    return float(np.linalg.norm(one[both])), float(np.linalg.norm(other[both] - one[both]))
