"""The batch becomes the first axis: a transpose before or behind the model, for Triton batches over no other."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from serving.onnx_files.changes.change import Answers, Arrays, Change, ChangeError, fresh_name


@dataclass(frozen=True)
class MovedAxis(Change):
    """The batch of an input or output has moved from `axis` to the front."""

    kind: Literal["input", "output"]
    tensor: str
    axis: int
    rank: int

    def __str__(self) -> str:
        return f"{self.kind} {self.tensor!r}: the batch moved from axis {self.axis} to the front"

    def apply(self, model: onnx.ModelProto) -> None:
        """Put a Transpose between the model and its tensor, which keeps its name."""
        both = {value.name for value in model.graph.input} & {value.name for value in model.graph.output}
        if self.tensor in both:
            raise ChangeError(f"--batch-axis {self.tensor}: it is input and output in one, and cannot be transposed")
        from serving.onnx_files.changes import rewiring  # most of a second, which every start would wait for

        inner = fresh_name(model, f"{self.tensor}_batch_at_{self.axis}")
        move = rewiring.move_input_axis if self.kind == "input" else rewiring.move_output_axis
        move(model, self.tensor, self.axis, self.rank, inner, str(self))

    def inputs_before(self, inputs: Arrays) -> Arrays:
        """With the batch where the file before has it."""
        return self._moved(inputs, 0, self.axis) if self.kind == "input" else inputs

    def inputs_after(self, inputs: Arrays) -> Arrays:
        """With the batch in front."""
        return self._moved(inputs, self.axis, 0) if self.kind == "input" else inputs

    def answers(self, before: Answers) -> Answers:
        """With the batch in front."""
        return self._moved(before, self.axis, 0) if self.kind == "output" else before

    def _moved(self, arrays: Arrays, source: int, target: int) -> Arrays:
        array = arrays.get(self.tensor)
        if array is None or array.ndim != self.rank:  # another rank is refused where inputs are read
            return arrays
        return {**arrays, self.tensor: np.ascontiguousarray(np.moveaxis(array, source, target))}


@dataclass(frozen=True)
class ReshapedControl(Change):
    """A control input takes the shape in which Triton hands controls over: [batch, 1], or [1] without a batch."""

    tensor: str
    rank: int
    """Of the input before."""
    batched: bool

    def __str__(self) -> str:
        return f"control input {self.tensor!r} takes Triton's {'[batch, 1]' if self.batched else '[1]'}"

    def apply(self, model: onnx.ModelProto) -> None:
        """Put a Reshape between the input, which keeps its name, and the model."""
        from serving.onnx_files.changes import rewiring  # as above

        inner, shape = (fresh_name(model, f"{self.tensor}_{word}") for word in ("reshaped", "shape"))
        takes = [None, 1] if self.batched else [1]
        rewiring.reshape_input(model, self.tensor, takes, self._before, (inner, shape), str(self))

    def inputs_before(self, inputs: Arrays) -> Arrays:
        """In the shape of before."""
        return {**inputs, self.tensor: inputs[self.tensor].reshape(self._before)}

    def inputs_after(self, inputs: Arrays) -> Arrays:
        """In Triton's."""
        if self.tensor not in inputs:
            return inputs
        return {**inputs, self.tensor: inputs[self.tensor].reshape((-1, 1) if self.batched else (1,))}

    @property
    def _before(self) -> tuple[int, ...]:
        return (-1,) if self.batched else (1,) * self.rank
