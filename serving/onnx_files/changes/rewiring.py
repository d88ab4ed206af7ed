"""A node put before or behind a graph, which leaves the tensor outside with its name; by onnx_ir."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir

from serving.onnx_files.changes.change import ChangeError


def move_input_axis(model: onnx.ModelProto, tensor: str, axis: int, rank: int, inner: str, what: str) -> None:
    """Transpose input `tensor`, in place: the first axis outside is axis `axis` of `inner`, which the model sees.

    Raises:
        ChangeError: onnx_ir does not read the model; `what` says which change is not possible.
    """
    edited = _in_memory(model, what)
    (value,) = [value for value in edited.graph.inputs if value.name == tensor]
    order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
    _put_before(edited.graph, tensor, _front(value.shape, axis), inner, "Transpose", perm=order)
    model.CopyFrom(onnx_ir.to_proto(edited))


def move_output_axis(model: onnx.ModelProto, tensor: str, axis: int, rank: int, inner: str, what: str) -> None:
    """Transpose output `tensor`, in place: axis `axis` of `inner`, which the model makes, is the first one outside.

    Raises:
        ChangeError: as above.
    """
    edited = _in_memory(model, what)
    graph = edited.graph
    (place,) = [place for place, value in enumerate(graph.outputs) if value.name == tensor]
    value = graph.outputs[place]
    value.name = inner
    order = [axis, *(other for other in range(rank) if other != axis)]
    node = onnx_ir.node("Transpose", [value], {"perm": order}, name=inner)
    outer = node.outputs[0]
    outer.name, outer.shape, outer.type = tensor, _front(value.shape, axis), value.type
    graph.append(node)
    graph.outputs[place] = outer
    model.CopyFrom(onnx_ir.to_proto(edited))


def reshape_input(
    model: onnx.ModelProto,
    tensor: str,
    outside: Sequence[int | None],
    inside: Sequence[int],
    names: tuple[str, str],
    what: str,
) -> None:
    """Reshape input `tensor`, in place, from shape `outside` (None: of any size) to `inside`; `names` are of the tensor
    that the model sees and of the shape's constant.

    Raises:
        ChangeError: as above.
    """
    edited = _in_memory(model, what)
    inner, shape = names
    value = onnx_ir.Value(name=shape, const_value=onnx_ir.tensor(np.array(inside, np.int64), name=shape))
    edited.graph.register_initializer(value)
    _put_before(edited.graph, tensor, onnx_ir.Shape(outside), inner, "Reshape", further=[value])
    model.CopyFrom(onnx_ir.to_proto(edited))


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
