"""The proof of one ONNX file: the parity grid, and the recipe's own score of weights and file side by side.

A module with states is also run step by step over whole sequences, and scored on those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from conch.contracts.errors import ConchError
from export.conversion.cleaning import findings
from export.conversion.convert import Exporter, ExportError, convert
from export.conversion.memory import let_go
from export.diagnosis.culprit import Culprit, find_culprit
from export.proof.cells import Grid
from export.proof.chain import ChainProof, prove_chain
from export.proof.pace import Pace
from export.proof.parity import parity_grid
from export.proof.runtime import onnx_predict
from serving.onnx_files.releases import Release
from training.checkpoints.checkpoint import Checkpoint
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
    culprit: Culprit | None = None
    """The node that a failing cell comes from, where one was found."""
    exported_nodes: int = 0
    """Nodes that the exporter wrote, before cleaning."""
    chain: ChainProof | None = None
    """Of a module with states."""
    unclean: tuple[str, ...] = ()
    """What is not clean in the graph, a sentence each: it costs time or space and no answer."""
    details: str = ""
    """All that an exporter said which failed."""

    def as_json(self) -> dict[str, Any]:
        """The proof's parity.json."""
        assert self.grid is not None
        return self.grid.as_json() | ({"chain": self.chain.as_json()} if self.chain else {})


def convert_and_prove(
    checkpoint: Checkpoint,
    served: Served,
    path: Path,
    exporter: Exporter,
    scored: bool,
    release: Release | None = None,
    pace: Pace | None = None,
) -> Proof:
    """Convert with one exporter into `path` and run the whole proof.

    Args:
        scored: whether the recipe's score judges this model; it judges the first that a recipe serves. One with states
            is judged by its chain, others by their own `score` where they have one.
        release: the oldest Triton release that has to load the file.
        pace: told of every run, and may cut the grid.
    """
    proof = convert_and_compare(served, path, exporter, release, pace)
    if proof.chain and not proof.failures:
        weights, exported = proof.chain.whole_score, proof.chain.chain_score
        failures = tuple(score_failures(weights, exported))
        return replace(proof, failures=failures, weights_score=weights, onnx_score=exported)
    judge = (lambda predict: checkpoint.recipe.score(predict, checkpoint.data)) if scored else served.score
    if proof.failures or judge is None:
        return proof
    weights = tuple(judge(torch_predict(served)))
    exported = tuple(judge(in_batches(onnx_predict(path), served.largest_batch)))
    failures = tuple(score_failures(weights, exported))
    return replace(proof, failures=failures, weights_score=weights, onnx_score=exported)


def convert_and_compare(
    served: Served, path: Path, exporter: Exporter, release: Release | None = None, pace: Pace | None = None
) -> Proof:
    """Convert with one exporter into `path` and run the proof that needs no recipe: grid and chain."""
    try:
        converted = convert(served, path, exporter, release)
        grid = parity_grid(served, path, pace=pace)
        let_go(served.module)
        chain = prove_chain(served, onnx_predict(path)) if served.states and grid.passed else None
    except ConchError as error:  # the exporter refuses the module, or ONNX Runtime what the exporter wrote
        return Proof(exporter, (str(error),), details=error.details if isinstance(error, ExportError) else "")
    return replace(compared(served, path, exporter, grid, chain), exported_nodes=converted.exported_nodes)


def compared(served: Served, path: Path, exporter: Exporter, grid: Grid, chain: ChainProof | None) -> Proof:
    """The proof of a file by its grid and chain, with the culprit of what failed and what is not clean."""
    failures = (*grid.failures, *(chain.failures if chain else ()))
    culprit = find_culprit(served, path, grid) if not grid.passed and not grid.uncovered else None
    unclean = tuple(findings(onnx.load(path, load_external_data=False)))
    return Proof(exporter, failures, grid, culprit=culprit, chain=chain, unclean=unclean)


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
