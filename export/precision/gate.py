"""The gate: a variant passes when the recipe's own score says so; else the worst layers go back to fp32, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conch.contracts.errors import ConchError
from export.precision.proof import VariantProof, prove_variant
from export.precision.quantizers import Quantizer
from export.precision.speed import speedup
from export.proof.runtime import onnx_predict
from training.checkpoints.checkpoint import Checkpoint
from training.predict import in_batches
from training.score import AllowedLoss, Metric, Predict
from training.served import Served

# The speed of a variant is told as it is served: an operator has one thread.
THREADS = 1


@dataclass(frozen=True)
class Try:
    """One variant and what the gate found."""

    method: str
    kept: tuple[str, ...]
    """Groups in fp32."""
    score: tuple[Metric, ...]
    size: int
    """Bytes of the file."""
    size_ratio: float
    """Of the fp32 file's bytes."""
    speedup: float
    """fp32's time over the variant's, on the largest batch with one thread."""
    failures: tuple[str, ...]
    """What keeps it from passing, a sentence each."""
    path: Path
    proof: VariantProof


class PrecisionRefused(ConchError):
    """No variant is worth publishing; nothing was published."""

    def __init__(self, message: str, tries: list[Try]) -> None:
        self.tries = tries
        super().__init__(message)


def none_passed(name: str, tries: list[Try]) -> PrecisionRefused:
    """Of these variants."""
    best = min(tries, key=lambda one: len(one.failures))
    return PrecisionRefused(
        f"{name}: nothing was published, none of {len(tries)} variants passed the gate; "
        f"nearest was {best.method!r} with {len(best.kept)} layers in fp32: {best.failures[0]}",
        tries,
    )


def slower(name: str, chosen: Try, tries: list[Try]) -> PrecisionRefused:
    """The best of them is slower than fp32."""
    return PrecisionRefused(
        f"{name}: nothing was published, int8 passed the gate and runs {chosen.speedup:.2f} times as fast as fp32 here "
        f"(largest batch, {THREADS} thread); serve fp32, or publish it for its {chosen.size_ratio:.2f} of the bytes: "
        "--even-if-slower",
        tries,
    )


class Gate:
    """Judges variants of one fp32 file, always in the same way."""

    def __init__(self, checkpoint: Checkpoint, served: Served, fp32: Path, weights: tuple[Metric, ...]) -> None:
        """Args:
        checkpoint: whose recipe judges.
        served: the first model the recipe serves.
        fp32: its proven file.
        weights: the score of its weights.

        Raises:
            ConchError: the recipe does not say what may be lost, or of a metric it does not have.
        """
        self.checkpoint, self.served, self.fp32, self.weights = checkpoint, served, fp32, weights
        self.allowed: Mapping[str, AllowedLoss] = checkpoint.recipe.allowed_loss
        names = [metric.name for metric in weights]
        if not self.allowed or not set(self.allowed) <= set(names):
            raise ConchError(
                f"{served.name}: the recipe's allowed_loss names {sorted(self.allowed) or 'no metric'}, its score has "
                f"{names}; say what a lower precision may lose, as in allowed_loss = {{{names[0]!r}: AllowedLoss(0.5)}}"
            )
        self._reference = onnx_predict(fp32)
        self._timed = onnx_predict(fp32, THREADS)

    def judge(self, path: Path, method: str, kept: tuple[str, ...]) -> Try:
        """Prove, score and time one variant."""
        size, ratio = path.stat().st_size, path.stat().st_size / self.fp32.stat().st_size
        try:
            variant = onnx_predict(path)
        except ConchError as error:
            return Try(method, kept, (), size, ratio, 0.0, (str(error),), path, VariantProof((), (str(error),)))
        proof = prove_variant(self.served, path, self._reference, variant)
        if proof.failures and not all(np.isfinite(cell.difference) for cell in proof.cells):
            return Try(method, kept, (), size, ratio, 0.0, tuple(proof.failures), path, proof)
        score = self.checkpoint.recipe.score(in_batches(variant, self.served.largest_batch), self.checkpoint.data)
        failures = [*proof.failures, *losses(self.weights, tuple(score), self.allowed)]
        if ratio >= 1:
            failures.append(f"it is no smaller than the fp32 file: {size:,} bytes")
        faster = speedup(self._timed, onnx_predict(path, THREADS), self._rows(self.served.largest_batch))
        return Try(method, kept, tuple(score), size, ratio, faster, tuple(failures), path, proof)

    def cannot_tell(self) -> list[str]:
        """Where so few held-out items judge that a loss as large as is allowed may be chance, a sentence a metric."""
        items = len(getattr(self.checkpoint.data, "held_out", ()))
        told = []
        for metric in self.weights:
            allowed = self.allowed.get(metric.name)
            if metric.unit != "%" or allowed is None or allowed.relative or items == 0:
                continue
            # One item is the least that a share can move by, and two standard errors of it what chance moves it by.
            share = min(max(metric.value / 100, 1 / items), 1 - 1 / items) if items > 1 else 0.5
            chance = max(100 / items, 200 * float(np.sqrt(share * (1 - share) / items)))
            if chance > allowed.amount:
                told.append(
                    f"{metric.name} is judged on {items} held-out items, where chance alone moves it by {chance:.1f} "
                    f"points: whether {allowed} was lost it cannot tell"
                )
        return told

    def departure(self, variant: Predict) -> float:
        """How far the answers on training inputs are from fp32's: noise over signal, summed over the outputs."""
        inputs = self._rows(self.served.largest_batch)
        total = 0.0
        for name, expected in self._reference(inputs).items():
            noise = variant(inputs)[name].astype(np.float64) - expected
            total += float(np.square(noise).sum() / max(np.square(expected.astype(np.float64)).sum(), 1e-30))
        return total

    def _rows(self, count: int) -> dict[str, np.ndarray]:
        source = self.served.calibration or self.served.examples
        return {tensor.name: np.ascontiguousarray(source[tensor.name][:count]) for tensor in self.served.inputs}


def losses(weights: tuple[Metric, ...], variant: tuple[Metric, ...], allowed: Mapping[str, AllowedLoss]) -> list[str]:
    """Where more was lost than `allowed`, a sentence a metric."""
    return [
        f"{one.name} is {other}, the weights' is {one}; {allowed[one.name]} {one.unit}".rstrip() + " may be lost"
        for one, other in zip(weights, variant, strict=True)
        if one.name in allowed and not allowed[one.name].allows(one, other)
    ]


def find_variant(
    gate: Gate, quantizer: Quantizer, folder: Path, progress: Callable[[str], None] = lambda _: None
) -> tuple[Try, list[Try]]:
    """Try every method; where none passes, keep the worst groups of the best one in fp32, one more at a time.

    Returns:
        The variant to publish, the best-scored of the first that pass; and all that were tried.

    Raises:
        PrecisionRefused: none passed.
    """
    numbers = itertools.count()

    def attempt(method: str, kept: tuple[str, ...]) -> Try:
        progress(f"{gate.served.name}: {method}" + (f", {len(kept)} layers in fp32" if kept else ""))
        path = folder / f"variant-{next(numbers)}.onnx"
        quantizer.write(path, method, set(kept))
        return gate.judge(path, method, kept)

    tries = [attempt(method, ()) for method in quantizer.methods]
    if passed := [one for one in tries if not one.failures]:
        return min(passed, key=_badness), tries
    best = min(tries, key=lambda one: (len(one.failures), _badness(one)))
    ranked = worst_first(gate, quantizer, best.method, folder, progress)
    for count in range(1, len(ranked)):  # with all of them kept it would be the fp32 file
        tries.append(attempt(best.method, tuple(ranked[:count])))
        if not tries[-1].failures:
            return tries[-1], tries
    raise none_passed(gate.served.name, tries)


def worst_first(
    gate: Gate, quantizer: Quantizer, method: str, folder: Path, progress: Callable[[str], None]
) -> list[str]:
    """The groups by how far each, alone in the lower precision, moves the answers on training inputs."""
    path = folder / "one-group.onnx"
    moved = {}
    for group in quantizer.groups:
        progress(f"{gate.served.name}: how much {group} alone changes")
        quantizer.write(path, method, set(quantizer.groups) - {group})
        moved[group] = gate.departure(onnx_predict(path))
    return sorted(moved, key=lambda group: moved[group], reverse=True)


def _badness(one: Try) -> float:
    """The first metric, turned so that less is better; the worst where there is no score."""
    if not one.score or not np.isfinite(one.score[0].value):
        return float("inf")
    return -one.score[0].value if one.score[0].higher_is_better else one.score[0].value
