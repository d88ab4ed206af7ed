"""What of a model the proof needs to know: a served module has it, and so has an ONNX file of another origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from training.tensors import Tensor, Tolerance


class Subject(Protocol):
    """A model under proof; `training.served.Served` is one."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Their first axis is the batch, where there is one."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Their first axis is the batch, where there is one."""

    @property
    def examples(self) -> Mapping[str, np.ndarray]:
        """By input name, axis 0 the item."""

    @property
    def real_examples(self) -> int | None:
        """So many of the examples, the first, are real, and the others made up; None: all are real."""

    @property
    def largest_batch(self) -> int:
        """The most rows of one run; 0 of a model without batches."""

    @property
    def batched(self) -> bool:
        """Whether axis 0 of every tensor is the batch."""

    @property
    def sizes(self) -> Mapping[str, tuple[int, ...]]:
        """Sizes of each symbolic axis besides the batch, ascending."""

    @property
    def tolerance(self) -> Mapping[str, Tolerance]:
        """By dtype, in place of the documented one."""
