"""Nodes of constants that the optimizer leaves: those with several outputs, and those without a reference kernel.

The attention of every decoder cuts its weights with a Split: onnxscript's folding skips nodes with several outputs.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from conch.contracts.errors import ConchError
from export.proof.runtime import onnx_predict

# What makes numbers at random, and what keeps weights small.
_LEFT_ALONE = {
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout",
    "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip


def fold_constants(model: ir.Model, largest: int) -> bool:
    """Replace nodes of the outer graph that read constants alone by what ONNX Runtime gives for them, in place.

    Args:
        model: the graph.
        largest: elements of the largest constant that is read or written.

    Returns:
        Whether anything changed.
    """
    changed = False
    for node in list(model.graph):
        if not _foldable(node, largest):
            continue
        try:
            values = _run(node, model)
        except ConchError:  # no kernel for it: then it is as it is
            continue
        if any(value.size > largest for value in values):
            continue
        for output, value in zip(node.outputs, values, strict=True):
            constant = ir.Value(name=output.name, const_value=ir.tensor(value, name=output.name))
            constant.shape, constant.type = ir.Shape(value.shape), ir.TensorType(constant.const_value.dtype)  # type: ignore[union-attr]
            output.name = f"{output.name}_folded"
            model.graph.register_initializer(constant)
            ir.convenience.replace_all_uses_with(output, constant)
        model.graph.remove(node, safe=True)
        changed = True
    return changed


def _foldable(node: ir.Node, largest: int) -> bool:
    inputs = [value for value in node.inputs if value is not None]
    return (
        node.domain in ("", "ai.onnx")
        and node.op_type not in _LEFT_ALONE
        and bool(inputs)
        and all(value.const_value is not None and value.const_value.size <= largest for value in inputs)
        and not any(value.is_graph_input() for value in inputs)
        and not any(value.is_graph_output() for value in node.outputs)
        and not any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
                    for attribute in node.attributes.values())
    )  # fmt: skip


def _run(node: ir.Node, model: ir.Model):  # type: ignore[no-untyped-def]
    """The arrays that the node gives. Raises ConchError where ONNX Runtime has no kernel for it."""
    proto = ir.to_proto(node)
    for index, _ in enumerate(proto.output):
        proto.output[index] = f"output_{index}"
    constants = []
    for index, value in enumerate(node.inputs):
        if value is not None:
            proto.input[index] = f"input_{index}"
            assert value.const_value is not None
            constants.append(onnx.numpy_helper.from_array(value.const_value.numpy(), f"input_{index}"))
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output]
    alone = onnx.helper.make_model(
        onnx.helper.make_graph([proto], "constants", [], outputs, constants),
        opset_imports=[onnx.helper.make_opsetid("", model.graph.opset_imports[""])], ir_version=model.ir_version,
    )  # fmt: skip
    return list(onnx_predict(alone.SerializeToString())({}).values())
