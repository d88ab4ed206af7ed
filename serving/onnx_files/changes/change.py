"""A change to an ONNX file, and how what goes in and comes out of the file before becomes that of the file after.

A change computes nothing: it moves an axis, fixes an input, takes a tensor out of its container or declares a shape.
So each says how its file is asked what the file before is asked, and the proof (`proof.py`) needs nothing else.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import onnx

from serving.errors import ServingError
from serving.onnx_files.inspection import graphs_of

Arrays = dict[str, np.ndarray]
Answers = dict[str, Any]
"""Output name -> array, or as ONNX Runtime gives what is none: a list for a sequence, a dict for a map."""


class ChangeError(ServingError):
    """A change that cannot be made; the message says what was asked, and of what."""


class Change(ABC):
    """One change; its text says what was done, for people.

    Its methods go from one side to the other and return what it does not concern as it is.
    """

    exact = True
    """Whether the file has to answer as before bit for bit, where nothing is optimized."""

    @abstractmethod
    def apply(self, model: onnx.ModelProto) -> None:
        """Change `model` in place. Raises ChangeError."""

    def inputs_before(self, inputs: Arrays) -> Arrays:
        """What the file before takes where this one takes `inputs`."""
        return inputs

    def inputs_after(self, inputs: Arrays) -> Arrays:
        """What this file takes where the file before takes `inputs`."""
        return inputs

    def answers(self, before: Answers) -> Answers:
        """What this file has to answer where the file before answers so."""
        return before


def fresh_name(model: onnx.ModelProto, wanted: str) -> str:
    """`wanted`, with a number behind it where a tensor of the model has that name."""
    used = {value.name for value in (*model.graph.input, *model.graph.output)}
    for graph in graphs_of(model.graph, *model.functions):
        used |= {name for node in graph.node for name in (*node.input, *node.output)}
        used |= {tensor.name for tensor in getattr(graph, "initializer", ())}
    name, number = wanted, 1
    while name in used:
        number += 1
        name = f"{wanted}_{number}"
    return name


def output_of(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The output of a model that has one of this name."""
    return next(value for value in model.graph.output if value.name == name)


def declare_shape(value: onnx.ValueInfoProto, shape: "tuple[int | str | None, ...]") -> None:
    """Declare the shape of a tensor: a length, or a name or None for an open axis."""
    declared = value.type.tensor_type
    made = onnx.helper.make_tensor_type_proto(declared.elem_type, shape)
    declared.shape.CopyFrom(made.tensor_type.shape)


def shape_text(shape: "tuple[int | str | None, ...]") -> str:
    """As a configuration has it: -1 for an open axis."""
    return str([size if isinstance(size, int) else -1 for size in shape])
