"""fp16: half the bytes, and half the arithmetic where the processor has it (GPUs do, most CPUs do not)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from export.precision.quiet import quiet

# Sums over many terms and functions that overflow or lose their small end in 5 bits of exponent stay in fp32, as they
# do under PyTorch's automatic mixed precision; rounding to uint8 as well, for fp16 counts in steps of 0.125 there.
BLOCKED = ("Softmax", "LogSoftmax", "ReduceMean", "ReduceSum", "Pow", "Sqrt", "Exp", "Log", "Round")

# Smaller tensors cost more in Cast nodes than they save.
LEAST_ELEMENTS = 256


def convert_half(source: Path, path: Path, kept: set[str]) -> None:
    """Write `source` with fp16 arithmetic to `path`; inputs and outputs keep their types, nodes in `kept` fp32."""
    with quiet():
        model = convert_float_to_float16(
            onnx.load(source),
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *BLOCKED],
            node_block_list=sorted(kept),
        )
    onnx.save(model, path)


def store_half(source: Path, path: Path, kept: set[str]) -> None:
    """Write `source` with its weights stored in fp16 and cast to fp32 when the file is loaded; `kept` nodes' not.

    The cast is of a constant, so ONNX Runtime does it once: same speed, half the file. It is for graphs with recurrent
    layers, which have no fp16 kernel on the CPU and whose conversion crashes ONNX Runtime 1.31 as it loads them.
    """
    model = onnx.load(source)
    graph = model.graph
    spared = {name for node in graph.node if node.name in kept for name in node.input}
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in spared:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < LEAST_ELEMENTS or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/fp16"))
        casts.append(helper.make_node("Cast", [f"{name}/fp16"], [name], name=f"{name}/to fp32", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
