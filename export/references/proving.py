"""The proof of any ONNX file: the parity grid, against a module, another ONNX file, or recorded answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.errors import ConchError
from export.diagnosis.culprit import Culprit, find_culprit
from export.modules.module_values import SEED
from export.proof.cells import Grid
from export.proof.pace import Pace
from export.proof.parity import parity_grid
from export.references.file_subject import Asked, FileSubject
from export.references.held import Held, Unverifiable, held_by_answers, held_by_file, held_by_module
from export.references.onnx_file import OnnxFile, open_file
from serving.errors import ServingError


class NotServable(ConchError):
    """The file is damaged, or ONNX Runtime does not load it, or Triton has no such types."""


@dataclass(frozen=True)
class Against:
    """What a file is held against, as the command line says it."""

    reference: str | None = None
    """FILE.py:NAME, or an ONNX file."""
    outputs_from: Path | None = None
    weights: Path | None = None
    torch_weights: Path | None = None

    def check(self, inputs_from: Path | None) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConchError: what, and what to give instead.
        """
        if self.reference and self.outputs_from:
            raise ConchError("--reference and --outputs-from: one of the two says what is right")
        if self.outputs_from and not inputs_from:
            raise ConchError("--outputs-from needs the inputs that they answer: --inputs-from")
        if (self.weights or self.torch_weights) and not self.is_module:
            raise ConchError("--weights and --torch-weights are of a module: --reference FILE.py:NAME")

    @property
    def is_module(self) -> bool:
        """Whether the reference is one; else it is a file."""
        return self.reference is not None and ".py:" in self.reference


@dataclass(frozen=True)
class FileProof:
    """What was shown of a file, and by what."""

    subject: FileSubject
    grid: Grid
    reference: dict[str, Any]
    """What it was held against, for the manifest."""
    told: tuple[str, ...] = ()
    """How the command was read, and what to think of it, a line each."""
    culprit: Culprit | None = None


def prove_file(path: Path, asked: Asked, against: Against, pace: Pace, batched: bool | None = None) -> FileProof:
    """Run the parity grid of an ONNX file.

    Args:
        path: the file.
        asked: what it is run on.
        against: what it is held against.
        pace: told of every run, and may cut the grid.
        batched: whether its first axis is the batch; None finds out.

    Raises:
        NotServable: the file cannot be served at all.
        Mismatch: it does not take or give what the reference does; nothing was run.
        Unverifiable: there is nothing to hold it against.
        ConchError: what was asked contradicts itself or the file.
    """
    against.check(asked.inputs_from)
    if not path.is_file():
        raise ConchError(f"there is no file {path}")
    try:
        file = open_file(path)
    except ServingError as error:
        raise NotServable(str(error)) from error
    if not file.inputs:
        raise Unverifiable(f"{path} has no inputs: nothing can be asked of it")
    held = _held(file, asked, against, False if asked.max_batch == 0 else batched)
    grid = parity_grid(held.subject, path, reference=held.reference, pace=pace)
    culprit = None
    if held.served and grid.wrong and not grid.uncovered:
        pace.tell(f"{held.subject.name}: looking for the node that is wrong")
        culprit = find_culprit(held.served, path, grid)
    grid = replace(grid, uncovered=(*grid.uncovered, *held.uncovered))
    described = held.described | {
        "batched": held.subject.batched,
        "inputs": asked.inputs_from.name if asked.inputs_from else f"random within their ranges, seed {SEED}",
    }
    return FileProof(held.subject, grid, described, (*held.told, *_doubts(held, against, grid)), culprit)


def _held(file: OnnxFile, asked: Asked, against: Against, batched: bool | None) -> Held:
    if against.outputs_from:
        return held_by_answers(file, asked, against.outputs_from, batched)
    if against.reference is None:
        raise Unverifiable(
            f"there is nothing to prove {file.path} against; give --reference FILE.py:NAME, --reference OTHER.onnx, or "
            "recorded answers: --inputs-from x.npz --outputs-from y.npz"
        )
    if against.is_module:
        return held_by_module(file, asked, against.reference, against.weights, against.torch_weights, batched)
    return held_by_file(file, asked, Path(against.reference), batched)


def _doubts(held: Held, against: Against, grid: Grid) -> list[str]:
    """What may make a passed proof worth nothing, or a failed one the command's fault."""
    if grid.wrong and against.is_module and not (against.weights or against.torch_weights):
        return [f"{against.reference} was taken with the weights that it builds itself with; others: --weights FILE"]
    floats = {tensor.name for tensor in held.subject.outputs if np.dtype(tensor.dtype).kind == "f"}
    judged = [cell for cell in grid.cells if cell.output in floats]
    if held.reference.recorded and judged and all(cell.passed and cell.difference == 0 for cell in judged):
        return [
            "the recorded answers are bit for bit what this file answers: if they were recorded from it, they prove "
            "nothing"
        ]
    return []
