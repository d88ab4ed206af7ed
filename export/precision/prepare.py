"""Rewrite a proven fp32 graph so that its arithmetic has 8-bit kernels, without changing what it computes.

ONNX Runtime has no 8-bit BatchNormalization or Pad on the CPU: between quantized neighbours each would be reached by
dequantizing and left by quantizing again. Both are 1x1 convolutions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.precision.files import is_large, save
from export.precision.quiet import quiet

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators with weights that have 8-bit kernels; ConvTranspose has none on the CPU and stays in fp32."""
BETWEEN = ("Relu", "Clip", "Add", "MaxPool", "Reshape", "Flatten", "Squeeze", "Transpose", "GlobalAveragePool")
"""Operators without weights that are quantized where quantized ones are before and after them."""

# A dense 1x1 convolution with a diagonal kernel runs in the fast kernel; a depthwise one is smaller. They meet here.
DENSE_CHANNELS = 64
# ONNX Runtime's direct 8-bit convolution takes input channels in fours and gives output channels in sixteens; with
# fewer input channels the other one is slower than fp32.
FEWEST_CHANNELS, OUTPUT_STEP = 4, 16


def prepare(source: Path, path: Path) -> None:
    """Write `source` to `path`, ready for quantization: rewritten, shapes inferred, constants folded."""
    model = onnx.load(source)
    batch_norms_to_convolutions(model.graph)
    subsampled_skips_to_convolutions(model.graph)
    widen_narrow_convolutions(model.graph)
    name_nodes(model.graph)
    save(model, path)
    fold(path)
    model = onnx.load(path)
    flatten_biases(model.graph)
    save(model, path)
    strip(path)


def fold(path: Path) -> None:
    """Fold the constants of a file and infer its shapes, in place; what the tool fails on stays as it is."""
    large = is_large(path)
    with quiet(), contextlib.suppress(Exception):  # shapes that contradict each other, types it does not know
        quant_pre_process(
            path, path, skip_symbolic_shape=True, save_as_external_data=large, all_tensors_to_one_file=large
        )


def flatten_biases(graph: onnx.GraphProto) -> None:
    """Give each Gemm its bias as [outputs]: ONNX Runtime's tool fails on the [1, outputs] that it makes of an Add."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or node.input[2] not in values:
            continue
        bias = numpy_helper.to_array(values[node.input[2]])
        if bias.ndim == 2 and len(bias) == 1:
            node.input[2] = f"{node.name}/bias"
            graph.initializer.append(numpy_helper.from_array(bias[0], node.input[2]))


def strip(path: Path) -> None:
    """Drop what only a reader of the exporter's log needs: stack traces of nodes, shapes that are inferred."""
    model = onnx.load(path)
    del model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    save(model, path)


def batch_norms_to_convolutions(graph: onnx.GraphProto) -> None:
    """Replace each BatchNormalization of [batch, channels, height, width] that could not be folded."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    four_axes = {output for node in graph.node if node.op_type in ("Conv", "Add", "Pad") for output in node.output}
    for node in graph.node:
        if node.op_type != "BatchNormalization" or node.input[0] not in four_axes:
            continue
        if any(name not in values for name in node.input[1:5]):
            continue
        scale, shift, mean, variance = (numpy_helper.to_array(values[name]).astype(float) for name in node.input[1:5])
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        channels = len(factor)
        dense = channels <= DENSE_CHANNELS
        kernel = np.diag(factor)[:, :, None, None] if dense else factor[:, None, None, None]
        _become_convolution(graph, node, node.input[0], kernel, shift - mean * factor, group=1 if dense else channels)


def subsampled_skips_to_convolutions(graph: onnx.GraphProto) -> None:
    """Replace Slice, Slice, Pad of a ResNet's option A (every second pixel, zero channels added) by one convolution."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {output: node for node in graph.node for output in node.output}
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        slices, name = [], pad.input[0]
        while name in producer and producer[name].op_type == "Slice" and users[name] == 1:
            slices.append(producer[name])
            name = slices[-1].input[0]
        strides = _strides(slices, values)
        added = _channels_added(pad, values)
        channels = _channels(graph, producer.get(name), values)
        if strides is None or added is None or channels is None:
            continue
        kernel = np.eye(channels + added, channels)[:, :, None, None]
        _become_convolution(graph, pad, name, kernel, None, strides=strides)
        for node in slices:
            graph.node.remove(node)


def widen_narrow_convolutions(graph: onnx.GraphProto) -> None:
    """Give convolutions of fewer than `FEWEST_CHANNELS` input channels that many, those added being zero.

    The zeros come from a 1x1 convolution that stays in fp32. A Pad would do, but then ONNX Runtime turns the layout
    before the normalisation of the pixels and not after it, where its operators are ten times slower.
    """
    values = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "Conv" or node.input[1] not in values:
            continue
        kernel = numpy_helper.to_array(values[node.input[1]])
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        missing = FEWEST_CHANNELS - kernel.shape[1]
        if group != 1 or missing <= 0 or kernel.ndim != 4 or kernel.shape[0] % OUTPUT_STEP:
            continue
        name = node.name or node.output[0]
        widened, wider = f"{name}/widened", f"{name}/wider kernel"
        graph.initializer.append(numpy_helper.from_array(np.pad(kernel, ((0, 0), (0, missing), (0, 0), (0, 0))), wider))
        widening = onnx.NodeProto(name=f"{name}/widening", output=[widened])
        copy = np.eye(FEWEST_CHANNELS, kernel.shape[1])[:, :, None, None]
        _become_convolution(graph, widening, node.input[0], copy, None)
        node.input[0], node.input[1] = widened, wider
        graph.node.insert(index, widening)


def _strides(slices: list[onnx.NodeProto], values: dict[str, NDArray]) -> list[int] | None:
    """The steps over height and width, where the slices take every n-th pixel and nothing else."""
    steps = {2: 1, 3: 1}
    for node in slices:
        if len(node.input) != 5 or any(name not in values for name in node.input[1:]):
            return None
        starts, ends, axes, step = (values[name] for name in node.input[1:])
        if any(starts) or any(ends < 2**31 - 1) or any(axis not in steps for axis in axes) or any(step < 1):
            return None
        for axis, size in zip(axes, step, strict=True):
            steps[int(axis)] *= int(size)
    return [steps[2], steps[3]] if slices else None


def _channels_added(pad: onnx.NodeProto, values: dict[str, NDArray]) -> int | None:
    """How many zero channels `pad` appends, where it does only that."""
    mode = next((attribute.s for attribute in pad.attribute if attribute.name == "mode"), b"constant")
    if mode != b"constant" or len(pad.input) > 3 or pad.input[1] not in values:
        return None
    if len(pad.input) == 3 and pad.input[2] and (pad.input[2] not in values or values[pad.input[2]].any()):
        return None
    amounts = values[pad.input[1]].tolist()
    return amounts[5] if len(amounts) == 8 and not any(amounts[:5]) and not any(amounts[6:]) else None


def _channels(graph: onnx.GraphProto, node: onnx.NodeProto | None, values: dict[str, NDArray]) -> int | None:
    """Channels of what `node` puts out, followed back to a convolution."""
    producer = {output: other for other in graph.node for output in other.output}
    while node is not None and node.op_type in ("Add", "Relu"):
        node = next((producer[name] for name in node.input if name in producer), None)
    if node is None or node.op_type != "Conv":
        return None
    kernel = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    return None if kernel is None else int(kernel.dims[0])


def _become_convolution(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    source: str,
    kernel: NDArray,
    bias: NDArray | None,
    group: int = 1,
    strides: list[int] | None = None,
) -> None:
    name = node.name or node.output[0]
    inputs = [source, f"{name}/kernel"]
    graph.initializer.append(numpy_helper.from_array(kernel.astype(np.float32), inputs[1]))
    if bias is not None:
        inputs.append(f"{name}/bias")
        graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), inputs[2]))
    node.CopyFrom(
        helper.make_node(
            "Conv", inputs, [node.output[0]], name=name, group=group, kernel_shape=[1, 1], strides=strides or [1, 1]
        )
    )


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give nodes without a name one: quantization leaves nodes out by name."""
    for node in graph.node:
        node.name = node.name or f"{node.op_type}/{node.output[0]}"
