"""The proof of one ONNX file: the parity grid, and the recipe's own score of weights and file side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export.convert import Exporter, ExportError, convert
from export.parity import Grid, parity_grid
from export.runtime import onnx_predict
from training.checkpoint import Checkpoint
from training.predict import in_batches, torch_predict
from training.recipe import Metric, Served

SCORE_DECIMALS = 4


@dataclass(frozen=True)
class Proof:
    """What was shown of an ONNX file, or what kept it from being made."""

    exporter: Exporter
    failures: tuple[str, ...]
    """What failed, a sentence each; empty when the file computes what the weights compute."""
    grid: Grid | None = None
    weights_score: tuple[Metric, ...] = ()
    onnx_score: tuple[Metric, ...] = ()


def convert_and_prove(checkpoint: Checkpoint, served: Served, path: Path, exporter: Exporter, scored: bool) -> Proof:
    """Convert with one exporter into `path` and run the whole proof.

    Args:
        scored: whether the recipe's score judges this model; it judges the first that a recipe serves.
    """
    try:
        convert(served, path, exporter)
    except ExportError as error:
        return Proof(exporter, (str(error),))
    grid = parity_grid(served, path)
    if not grid.passed or not scored:
        return Proof(exporter, tuple(grid.failures), grid)
    judge = checkpoint.recipe.score
    weights = tuple(judge(torch_predict(served), checkpoint.data))
    exported = tuple(judge(in_batches(onnx_predict(path), served.largest_batch), checkpoint.data))
    return Proof(exporter, tuple(score_failures(weights, exported)), grid, weights, exported)


def score_failures(weights: tuple[Metric, ...], exported: tuple[Metric, ...]) -> Iterator[str]:
    """What keeps the ONNX file's score from being the weights', a sentence each."""
    if not weights or len(weights) != len(exported):
        yield f"the recipe's score is missing: {len(weights)} metrics of the weights, {len(exported)} of the ONNX file"
        return
    for one, other in zip(weights, exported, strict=True):
        if not math.isfinite(one.value) or not math.isfinite(other.value):
            yield f"{one.name} is no number: {one.value} of the weights, {other.value} of the ONNX file"
        elif abs(one.value - other.value) >= 0.5 * 10**-SCORE_DECIMALS:
            yield f"{one.name} of the ONNX file is {other}, of the weights {one}"
