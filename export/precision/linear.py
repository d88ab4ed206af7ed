"""Linear layers: MatMul with weights, which is what Gemm is made into here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.precision.files import save
from export.precision.prepare import fold, name_nodes, strip

# Smaller weights cost more in nodes than they save.
LEAST_ELEMENTS = 1024


def prepare_linear(source: Path, path: Path) -> None:
    """Write `source` to `path` with its constants folded and each Gemm with weights as MatMul and Add."""
    model = onnx.load(source)
    name_nodes(model.graph)
    save(model, path)
    fold(path)
    model = onnx.load(path)
    gemms_to_matmuls(model.graph)
    name_nodes(model.graph)
    save(model, path)
    strip(path)


def linear_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the MatMul nodes with float32 weights [inputs, outputs] worth quantizing, in the order of the graph."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return tuple(
        node.name for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and _is_worth_it(weights[node.input[1]])
    )  # fmt: skip


def _is_worth_it(weight: TensorProto) -> bool:
    dims = weight.dims
    return weight.data_type == TensorProto.FLOAT and len(dims) == 2 and dims[0] * dims[1] >= LEAST_ELEMENTS


def gemms_to_matmuls(graph: onnx.GraphProto) -> None:
    """Split each Gemm whose weights are known and whose factors are 1; the weights are transposed here once."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        factors = {attribute.name: attribute for attribute in node.attribute}
        plain = all(factors[name].f == 1 for name in ("alpha", "beta") if name in factors)
        turned = "transA" in factors and factors["transA"].i
        if node.op_type != "Gemm" or node.input[1] not in weights or not plain or turned:
            nodes.append(node)
            continue
        weight = node.input[1]
        if "transB" in factors and factors["transB"].i:
            weight = f"{node.name}/weight"
            values = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[1]]).T)
            graph.initializer.append(numpy_helper.from_array(values, weight))
        bias = len(node.input) > 2 and node.input[2]
        product = f"{node.name}/product" if bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], node.name))
        if bias:
            nodes.append(helper.make_node("Add", [product, bias], [node.output[0]], f"{node.name}/bias"))
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Forget initializers that no node of a graph without subgraphs takes any more."""
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
