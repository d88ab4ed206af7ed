"""The models that are measured, as they lie in the benchmark's folder: ONNX files, inputs and right answers.

    <folder>/files/<model>/fp32.onnx, fp16.onnx, inputs.npz, expected.npz, facts.json
    <folder>/models/<model>_<precision>/...      a model repository

`tests.bench.gpu.preparing` writes them. What runs them needs nothing of the exporter, and so is started quickly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conch.contracts.errors import ConchError

CLOSE = 0.05
"""Of the largest value: what fp16 may move an answer by, and far less than a wrong one differs."""


class SubjectError(ConchError):
    """A model cannot be measured; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Files:
    """Where a subject's files lie, and what is in them."""

    folder: Path
    """That of the whole benchmark."""
    model: str

    @property
    def own(self) -> Path:
        return self.folder / "files" / self.model

    def onnx(self, precision: str) -> Path:
        return self.own / f"{precision}.onnx"

    def facts(self) -> dict[str, Any]:
        """`item`: what one costs; `fp16`: how it was made; `outputs`: name, dtype and shape of each."""
        found: dict[str, Any] = json.loads((self.own / "facts.json").read_text())
        return found

    def expected(self) -> dict[str, np.ndarray]:
        """What the first rows of `inputs` must be answered with, by output name."""
        return _arrays(self.own / "expected.npz")

    def inputs(self, batch: int) -> dict[str, np.ndarray]:
        """`batch` rows by tensor name: real ones, again and again."""
        rows = _arrays(self.own / "inputs.npz")
        return {name: np.ascontiguousarray(array[np.arange(batch) % len(array)]) for name, array in rows.items()}

    def outputs(self, batch: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of each output of such a batch."""
        return {name: ((batch, *shape), np.dtype(dtype)) for name, (dtype, shape) in self.facts()["outputs"].items()}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def wrong(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> str:
    """Why `got` is not the answer, by the rows that both have; empty where it is."""
    for name, answers in expected.items():
        found = got[name][: len(answers)].astype(np.float64)
        right = answers[: len(found)].astype(np.float64)
        if found.shape != right.shape or not len(found):
            return f"output {name!r} has shape {list(got[name].shape)}, expected are rows of {list(right.shape[1:])}"
        off = float(np.abs(found - right).max()) / (float(np.abs(right).max()) or 1.0)
        if not off <= CLOSE:
            return f"output {name!r} is off by {off:.2g} of its largest value, allowed is {CLOSE}"
    return ""
