"""Which values an input may have that looks up rows of a table: 0 and 1 alone would show next to nothing of it."""

from __future__ import annotations

import onnx

# What hands an index on as it is.
_AS_IT_IS = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose")


def index_ranges(model: onnx.ModelProto) -> dict[str, int]:
    """By input, the highest index that every table has which it is looked up in (Gather along axis 0)."""
    tables = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    origin = {value.name: value.name for value in model.graph.input if value.name not in tables}
    highest: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in _AS_IT_IS and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and node.input[0] in tables and not _axis(node):
            name, last = origin[node.input[1]], tables[node.input[0]] - 1
            highest[name] = min(highest.get(name, last), last)
    return highest


def _axis(node: onnx.NodeProto) -> int:
    return next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
