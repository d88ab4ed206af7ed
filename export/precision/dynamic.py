"""Dynamic int8 of linear layers: the scale of activations is found at each run, so nothing is calibrated.

ONNX Runtime's own tool takes one scale over a whole tensor: an answer then depends on who shares its batch.
`scale_a_row` takes one for each row that is multiplied (a token of a transformer): a row of a batch has its own, and
its own answer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from conch.contracts.errors import ConchError
from export.precision.files import is_large, save
from export.precision.linear import drop_unused
from export.precision.prepare import strip
from export.precision.quiet import quiet
from serving.onnx_files.releases import newest_opset

LEAST_OPSET = 11
"""Of DynamicQuantizeLinear and Round."""
# Of an int8 weight: of 7 bits (`Target.reduce_range`), and of 8.
LARGEST_WEIGHT = {True: 64, False: 127}
# Rows are symmetric around the middle of uint8: the step is found in one pass, and padding of zeros stays zero.
MIDDLE, STEPS = 128, 127
REDUCE_MAX_TAKES_AXES = 18
"""The opset from which on the axes of ReduceMax are an input."""

_CONSTANTS = {
    "row/axis": np.array([-1], np.int64),
    "row/step": np.float32(1 / STEPS),
    "row/least": np.float32(1e-30),  # a row of zeros has no scale
    "row/middle": np.float32(MIDDLE),
    "row/zero": np.uint8(MIDDLE),
}


def scale_a_tensor(prepared: Path, path: Path, nodes: set[str], reduce_range: bool) -> None:
    """Write `prepared` with the MatMul `nodes` in int8 to `path`, activations under one scale a tensor."""
    with quiet():
        quantize_dynamic(
            prepared, path, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"],
            nodes_to_quantize=sorted(nodes), per_channel=True, reduce_range=reduce_range,
            use_external_data_format=is_large(prepared),
        )  # fmt: skip
    strip(path)


def scale_a_row(prepared: Path, path: Path, nodes: set[str], reduce_range: bool) -> None:
    """Write `prepared` with the MatMul `nodes` in int8 to `path`, activations under a scale a row."""
    model = onnx.load(prepared)
    opset = newest_opset(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    constants: dict[str, NDArray] = {name: np.asarray(value) for name, value in _CONSTANTS.items()}
    rewritten: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in model.graph.node:
        if node.name not in nodes:
            rewritten.append(node)
            continue
        activations, weight = node.input
        if activations not in quantized:
            rewritten += _quantize_rows(activations, opset)
            quantized.add(activations)
        if f"{weight}/int8" not in constants:
            whole, scale = quantize_columns(numpy_helper.to_array(weights[weight]), LARGEST_WEIGHT[reduce_range])
            constants |= {f"{weight}/int8": whole, f"{weight}/scale": scale}
        rewritten += _multiply(node, activations, weight)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    drop_unused(model.graph)
    save(model, path)


def quantize_columns(weight: NDArray, largest: int) -> tuple[NDArray, NDArray]:
    """Weights [inputs, outputs] as int8 up to `largest`, and the scale of each column [outputs]."""
    scale = np.abs(weight).max(axis=0) / largest
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return np.clip(np.round(weight / scale), -largest, largest).astype(np.int8), scale


def check_opset(name: str, model: onnx.ModelProto) -> None:
    """Raises:
    ConchError: `model` is of an opset without the operators that dynamic quantization is made of.
    """
    if newest_opset(model) < LEAST_OPSET:
        raise ConchError(
            f"{name}: its opset is {newest_opset(model)}, dynamic quantization needs {LEAST_OPSET}; convert it: "
            "onnx.version_converter.convert_version"
        )


def _quantize_rows(x: str, opset: int) -> list[onnx.NodeProto]:
    """`x` [..., inputs] as uint8 `x/uint8` around `MIDDLE`, and the step of each row, `x/scale` [..., 1]."""
    make = helper.make_node
    largest = (
        make("ReduceMax", [f"{x}/abs", "row/axis"], [f"{x}/largest"], f"{x}/largest", keepdims=1)
        if opset >= REDUCE_MAX_TAKES_AXES
        else make("ReduceMax", [f"{x}/abs"], [f"{x}/largest"], f"{x}/largest", axes=[-1], keepdims=1)
    )
    return [
        make("Abs", [x], [f"{x}/abs"], f"{x}/abs"),
        largest,
        make("Mul", [f"{x}/largest", "row/step"], [f"{x}/step"], f"{x}/step"),
        make("Max", [f"{x}/step", "row/least"], [f"{x}/scale"], f"{x}/scale"),
        make("Div", [x, f"{x}/scale"], [f"{x}/steps"], f"{x}/steps"),
        make("Round", [f"{x}/steps"], [f"{x}/whole"], f"{x}/whole"),
        make("Add", [f"{x}/whole", "row/middle"], [f"{x}/shifted"], f"{x}/shifted"),
        make("Cast", [f"{x}/shifted"], [f"{x}/uint8"], f"{x}/uint8", to=TensorProto.UINT8),
    ]


def _multiply(node: onnx.NodeProto, x: str, weight: str) -> list[onnx.NodeProto]:
    make, name, output = helper.make_node, node.name, node.output[0]
    return [
        make("MatMulInteger", [f"{x}/uint8", f"{weight}/int8", "row/zero"], [f"{output}/sum"], name),
        make("Cast", [f"{output}/sum"], [f"{output}/float"], f"{name}/float", to=TensorProto.FLOAT),
        make("Mul", [f"{output}/float", f"{weight}/scale"], [f"{output}/columns"], f"{name}/columns"),
        make("Mul", [f"{output}/columns", f"{x}/scale"], [output], f"{name}/rows"),
    ]
