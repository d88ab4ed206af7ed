"""transformers' own answers, item by item without padding, and an ONNX file held against them.

The parity grid compares ONNX Runtime with the served module on the same arrays: a module that forgets its mask passes
it. Here each item is asked of transformers alone, and of the file alone and in a padded batch; all three have to agree.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.pretrained.generation_proof import GenerationProof, OwnTexts, own_texts, prove_generation
from export.pretrained.subject import Arrays, Subject
from export.proof.budget import judge, largest, tolerance
from export.proof.float64 import float64_everywhere, widen
from training.predict import own_tensors, slow_path
from training.score import Metric, Predict

ROWS = 8
"""Of a padded batch; fewer where the model takes fewer."""
ALONE, IN_BATCH, FRONT = "alone", "in a batch", "in a batch that is filled up in front"


@dataclass(frozen=True)
class OwnAnswers:
    """To every item, by output name, without the batch axis."""

    float32: Sequence[Arrays]
    float64: Sequence[Arrays]
    """Empty where the model does not run in float64."""
    texts: OwnTexts | None = None
    """Of a model that writes, what transformers' own `generate` writes."""


@dataclass(frozen=True)
class OwnProof:
    """What holding a file against transformers' own answers showed."""

    items: int
    longest: int
    """Elements of the longest item's last axis."""
    alone: dict[str, float]
    """By output, the largest difference of an item run alone to transformers' own answer."""
    in_batch: dict[str, float]
    """The same of items in batches, padded to the longest."""
    failures: tuple[str, ...]
    generation: GenerationProof | None = None
    """Of a model that writes."""

    def as_json(self) -> dict[str, Any]:
        """For parity.json; NaN as null."""
        found = asdict(self) | {"failures": list(self.failures), "passed": not self.failures}
        found["generation"] = self.generation.as_json() if self.generation else None
        for key in ("alone", "in_batch"):
            found[key] = {name: value if np.isfinite(value) else None for name, value in found[key].items()}
        return found


def answer_all(subject: Subject) -> OwnAnswers:
    """Ask transformers every item, in float32 and float64.

    Raises:
        ConchError: it fails on an item, or its answers are all alike, which would prove nothing.
    """
    with slow_path(), torch.inference_mode():
        try:
            float32 = [_answered(subject, subject.model, item) for item in subject.items]
        except Exception as error:  # transformers' own code on the user's texts
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise ConchError(f"{subject.served.name}: transformers fails: {reason}") from error
    _refuse_alike(subject, float32)
    texts = own_texts(subject.model, subject.generating, subject.served.name) if subject.generating else None
    try:
        exact = copy.deepcopy(subject.model).double()
        with slow_path(), float64_everywhere():
            float64 = [_answered(subject, exact, item, wide=True) for item in subject.items]
    except Exception:  # then float32 is the only reference
        float64 = []
    return OwnAnswers(float32, float64, texts)


def _answered(subject: Subject, model: torch.nn.Module, item: Arrays, wide: bool = False) -> dict[str, np.ndarray]:
    tensors = own_tensors(array[np.newaxis] for array in item.values())
    given = dict(zip(item, map(widen, tensors) if wide else tensors, strict=True))
    return {name: answer[0].numpy(force=True).copy() for name, answer in subject.own(model, given).items()}


def _refuse_alike(subject: Subject, answers: Sequence[Arrays]) -> None:
    for tensor in subject.answers:
        absolute, relative = tolerance(tensor, subject.served.tolerance)
        values = [np.ravel(answer[tensor.name]).astype(np.float64) for answer in answers]
        sizes = min(value.size for value in values)
        stacked = np.stack([value[:sizes] for value in values])
        spread = float(np.ptp(stacked, axis=0).max()) if sizes else 0.0
        if not np.isfinite(stacked).all():
            raise ConchError(f"{subject.served.name}: transformers answers with NaN or infinity in {tensor.name!r}")
        if spread <= 2 * (absolute + relative * largest(stacked)):
            raise ConchError(
                f"{subject.served.name}: all {len(answers)} items get the same {tensor.name!r} within the tolerance, "
                "which would prove nothing: are the weights trained? Give other items, as --texts FILE"
            )


def prove_own(subject: Subject, answers: OwnAnswers, predict: Predict) -> OwnProof:
    """Hold `predict`, any rows a call, against transformers' own answers: each item alone, and in padded batches."""
    failures: list[str] = []
    rows = max(1, min(ROWS, subject.served.largest_batch))
    ways = {ALONE: [[index] for index in range(len(subject.items))]}
    if rows > 1:
        ways[IN_BATCH] = subject.batches(rows)
        if subject.either_side:
            ways[FRONT] = ways[IN_BATCH]
    differences: dict[str, dict[str, float]] = {}
    for way, batches in ways.items():
        differences[way] = dict.fromkeys((tensor.name for tensor in subject.answers), 0.0)
        for batch in batches:
            inputs = subject.batch(batch, front=way == FRONT)
            try:
                got = predict(inputs)
            except Exception as error:  # whatever ONNX Runtime raises
                failures.append(f"item {batch[0] + 1} {way}: the run failed: {' '.join(str(error).split())[:300]}")
                continue
            for row, index in enumerate(batch):
                failures += _judged(subject, answers, index, {n: a[row] for n, a in got.items()}, way, differences[way])
    longest = max((max(array.shape[-1:] or (0,)) for item in subject.items for array in item.values()), default=0)
    in_batch = {
        name: float(np.fmax.reduce([found[name] for way, found in differences.items() if way != ALONE]))
        for name in differences[ALONE]
        if rows > 1
    }
    generation = None
    if subject.generating and answers.texts and not failures:
        generation = prove_generation(subject.served, subject.generating, answers.texts, predict)
        failures += generation.failures
    return OwnProof(len(subject.items), longest, differences[ALONE], in_batch, tuple(failures), generation)


def _judged(
    subject: Subject, answers: OwnAnswers, index: int, got: Arrays, way: str, differences: dict[str, float]
) -> list[str]:
    found = []
    for tensor in subject.answers:
        expected = answers.float32[index][tensor.name]
        exact = answers.float64[index][tensor.name] if answers.float64 else None
        cut = _cut(got[tensor.name], expected.shape)
        judged = judge(cut, expected, exact, tolerance(tensor, subject.served.tolerance), tensor.dtype)
        # max() would forget a NaN that is not the first.
        differences[tensor.name] = float(np.fmax(differences[tensor.name], judged.difference))
        if not judged.right:
            found.append(
                f"item {index + 1} {way}: output {tensor.name!r} differs from transformers' own answer to it, alone "
                f"and without padding, by {judged.difference:.3g}"
            )
    return found


def _cut(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Without what belongs to padding."""
    return array[tuple(slice(size) for size in shape)] if array.ndim == len(shape) else array


def agreement(subject: Subject, answers: OwnAnswers, predict: Predict) -> list[Metric]:
    """The score of a file or module: how often its answer means the same as transformers' own, and how often it is
    right where that is known."""
    same, right = [], []
    for batch in subject.batches(subject.served.largest_batch or 1):
        got = predict(subject.batch(batch))
        for row, index in enumerate(batch):
            own = answers.float32[index]
            one = {name: _cut(got[name][row], own[name].shape) for name in own}
            same.append(subject.same(one, own))
            if index < len(subject.truths):
                right.append(int(np.argmax(one[subject.judged])) == subject.truths[index])
    metrics = [Metric("agreement with transformers", 100 * float(np.mean(same)), "%")]
    return metrics + ([Metric("accuracy", 100 * float(np.mean(right)), "%")] if right else [])
