"""8-bit recurrent layers: weights quantized in the file, activations when they are known (dynamic quantization).

One scale is taken over the whole batch at each run, so an answer would depend on who shares its batch. `row_by_row`
gives every row its own run inside the graph and with it its own scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.precision.files import is_large, save
from export.precision.prepare import strip
from export.precision.quiet import quiet

RECURRENT = ("LSTM",)
"""Recurrent operators with an 8-bit kernel (com.microsoft's DynamicQuantizeLSTM)."""


def recurrent_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the recurrent nodes, in the order of the graph."""
    return [node.name for node in model.graph.node if node.op_type in RECURRENT]


def quantize_recurrent(prepared: Path, path: Path, nodes: set[str], rows_alone: bool, reduce_range: bool) -> None:
    """Write `prepared` with the recurrent `nodes` in int8 to `path`.

    Args:
        rows_alone: a row at a time.
        reduce_range: weights of 7 bits (`Target.reduce_range`).
    """
    with quiet():
        quantize_dynamic(
            prepared, path, weight_type=QuantType.QInt8, op_types_to_quantize=list(RECURRENT),
            nodes_to_quantize=sorted(nodes), reduce_range=reduce_range, use_external_data_format=is_large(prepared),
        )  # fmt: skip
    if rows_alone:
        save(row_by_row(onnx.load(path)), path)
    else:
        strip(path)


def row_by_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model as the body of a Scan over axis 0 of every input: each row is run alone."""
    graph = model.graph
    inside = {value.name: f"{value.name}/one" for value in (*graph.input, *graph.output)}
    nodes = [helper.make_node("Unsqueeze", [f"{v.name}/row", "row axis"], [inside[v.name]]) for v in graph.input]
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [inside.get(name, name) for name in node.input]
        copy.output[:] = [inside.get(name, name) for name in node.output]
        nodes.append(copy)
    nodes += [helper.make_node("Squeeze", [inside[v.name], "row axis"], [f"{v.name}/row"]) for v in graph.output]
    axis = numpy_helper.from_array(np.array([0], np.int64), "row axis")
    body = helper.make_graph(
        nodes, "one row", [_row(v) for v in graph.input], [_row(v) for v in graph.output], [*graph.initializer, axis]
    )
    scan = helper.make_node(
        "Scan", [v.name for v in graph.input], [v.name for v in graph.output], "rows",
        body=body, num_scan_inputs=len(graph.input),
    )  # fmt: skip
    wrapped = helper.make_graph([scan], graph.name, list(graph.input), list(graph.output))
    return helper.make_model(
        wrapped, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name=model.producer_name
    )


def _row(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The description of one row of `value`."""
    row = onnx.ValueInfoProto()
    row.CopyFrom(value)
    row.name = f"{value.name}/row"
    del row.type.tensor_type.shape.dim[0]
    return row
