"""The batch becomes the first axis: a transpose before or behind the model, for Triton batches over no other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir

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
        inner = fresh_name(model, f"{self.tensor}_batch_at_{self.axis}")
        edited = _in_memory(model, str(self))
        if self.kind == "input":
            (value,) = [value for value in edited.graph.inputs if value.name == self.tensor]
            order = [*range(1, self.axis + 1), 0, *range(self.axis + 1, self.rank)]
            _put_before(edited.graph, self.tensor, _front(value.shape, self.axis), inner, "Transpose", perm=order)
        else:
            self._behind(edited.graph, inner)
        model.CopyFrom(onnx_ir.to_proto(edited))

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

    def _behind(self, graph: onnx_ir.Graph, inner: str) -> None:
        (place,) = [place for place, value in enumerate(graph.outputs) if value.name == self.tensor]
        value = graph.outputs[place]
        value.name = inner
        order = [self.axis, *(axis for axis in range(self.rank) if axis != self.axis)]
        node = onnx_ir.node("Transpose", [value], {"perm": order}, name=inner)
        outer = node.outputs[0]
        outer.name, outer.shape, outer.type = self.tensor, _front(value.shape, self.axis), value.type
        graph.append(node)
        graph.outputs[place] = outer


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
        inner, shape = (fresh_name(model, f"{self.tensor}_{word}") for word in ("reshaped", "shape"))
        edited = _in_memory(model, str(self))
        value = onnx_ir.Value(name=shape, const_value=onnx_ir.tensor(np.array(self._before, np.int64), name=shape))
        edited.graph.register_initializer(value)
        takes = onnx_ir.Shape([None, 1] if self.batched else [1])
        _put_before(edited.graph, self.tensor, takes, inner, "Reshape", further=[value])
        model.CopyFrom(onnx_ir.to_proto(edited))

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


def _put_before(
    graph: onnx_ir.Graph,
    tensor: str,
    shape: onnx_ir.Shape | None,
    inner: str,
    operator: str,
    further: Sequence[onnx_ir.Value] = (),
    **attributes: Any,
) -> None:
    """Put a node between an input, which from now on has `shape`, and everything that uses it."""
    (place,) = [place for place, value in enumerate(graph.inputs) if value.name == tensor]
    value = graph.inputs[place]
    outer = onnx_ir.Value(name=tensor, shape=shape, type=value.type)
    node = onnx_ir.node(operator, [outer, *further], attributes, name=inner)
    node.outputs[0].name = inner
    value.replace_all_uses_with(node.outputs[0])
    graph.inputs[place] = outer
    graph.insert_before(graph[0], node)


def _front(shape: onnx_ir.Shape | None, axis: int) -> onnx_ir.Shape | None:
    if shape is None:
        return None
    sizes = list(shape)
    return onnx_ir.Shape([sizes[axis], *sizes[:axis], *sizes[axis + 1 :]])


def _in_memory(model: onnx.ModelProto, what: str) -> onnx_ir.Model:
    """The model as values that know their uses, those inside of branches and loops too."""
    try:
        return onnx_ir.from_proto(model)
    except Exception as error:  # of what the package does not read, as maps
        raise ChangeError(f"{what} is not possible: {' '.join(str(error).split())}") from error
