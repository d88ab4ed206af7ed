"""What an ONNX file is held against: who answers, in float32 and in float64, and which other answers are right as well.

The judge (`parity.py`, `budget.py`) is one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from export.proof.ambiguity import Answers, find_answers
from export.proof.float64 import NoFloat64Error, float64_predict
from training.predict import torch_predict
from training.score import Predict
from training.served import Served

Arrays = dict[str, np.ndarray]


class Reference(Protocol):
    """Who says what is right."""

    @property
    def called(self) -> str:
        """Its name in messages, as in "differs from PyTorch by"."""

    @property
    def no_float64(self) -> str:
        """Why it has no answers in float64; empty where it has."""

    @property
    def recorded(self) -> bool:
        """Whether it knows the answers to all rows of the examples, in their order, and to nothing else."""

    def answers(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The right answers by output name; whatever it raises refuses the inputs."""

    def exact(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The same in float64; of no output where there are none."""

    def add_other_answers(
        self, inputs: Mapping[str, np.ndarray], known: Mapping[str, Answers], enough: Callable[[], bool], made_up: bool
    ) -> None:
        """Add to `known` what would be right as well, as `find_answers` does."""


class ModuleReference:
    """PyTorch, on the CPU."""

    called = "PyTorch"
    recorded = False

    def __init__(self, served: Served) -> None:
        self.no_float64 = ""
        self._served = served
        self._torch = torch_predict(served)
        self._float64: Predict | None = None
        try:
            self._float64 = float64_predict(served)
        except NoFloat64Error as error:
            self.no_float64 = str(error)

    def answers(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """PyTorch's float32; raises what the user's own code does: a mask of nothing, a singular matrix."""
        return self._torch(inputs)

    def exact(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """PyTorch's float64; of nothing where it refuses what float32 takes."""
        try:
            return self._float64(inputs) if self._float64 else {}
        except Exception:  # then PyTorch's float32 is the only reference
            return {}

    def add_other_answers(
        self, inputs: Mapping[str, np.ndarray], known: Mapping[str, Answers], enough: Callable[[], bool], made_up: bool
    ) -> None:
        """Those that rounding, sorting and attention over nothing leave open."""
        find_answers(self._served, inputs, known, enough, made_up)
