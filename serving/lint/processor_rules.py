"""Rules about the processor that is to serve a model."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder

# Two products of an unsigned byte and a weight of 7 bits, 2 x 255 x 64, fit into the 16 bits that processors without
# VNNI add them in; two of 8 bits do not.
LARGEST_WEIGHT = 64
_QUANTIZED = {
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
}  # fmt: skip


@rule("int8-saturates", "error", publishable=True, loads=True)
def int8_saturates(model: ModelFolder) -> Iterator[Found]:
    """Weights use 8 bits of int8: a processor without VNNI, which `--target x86` may be, saturates."""
    if model.target != "x86":
        return
    for version, found in model.graphs.items():
        names = list(saturating(found.model))
        if names:
            yield Found(
                str(model.model_file(version).relative_to(model.path)),
                f"int8 weights beyond {LARGEST_WEIGHT}, {names[0]!r}"
                + (f" and {len(names) - 1} more" * (len(names) > 1)),
                "7 bits, which every x86-64 multiplies alike",
                "export it with `--precision int8 --target x86`, or quantize with reduce_range",
            )


def saturating(model: onnx.ModelProto) -> Iterator[str]:
    """Names of the int8 weights in quantized arithmetic of which two products with unsigned bytes may saturate 16 bits.

    Signed activations are not looked at: ONNX Runtime has other kernels for them.
    """
    if not _unsigned(model.graph):
        return
    weights = {
        tensor.name: tensor
        for graph in _graphs(model.graph)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
        and tensor.data_location != onnx.TensorProto.EXTERNAL
    }  # fmt: skip
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.op_type in _QUANTIZED or node.op_type == "DequantizeLinear":
                yield from (name for name in node.input if name in weights and _largest(weights[name]) > LARGEST_WEIGHT)


def _largest(weight: onnx.TensorProto) -> int:
    return int(np.abs(numpy_helper.to_array(weight).astype(np.int16)).max(initial=0))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _unsigned(graph: onnx.GraphProto) -> bool:
    """Whether activations are unsigned bytes: of dynamic quantization always, else as the zero points are."""
    nodes = [node for part in _graphs(graph) for node in part.node]
    dynamic = {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "DynamicQuantizeLinear"}
    points = {tensor.name for part in _graphs(graph) for tensor in part.initializer
              if tensor.data_type == onnx.TensorProto.UINT8}  # fmt: skip
    return any(node.op_type in dynamic or points.intersection(node.input) for node in nodes)
