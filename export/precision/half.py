"""fp16: half the bytes, and half the arithmetic where the processor has it (GPUs do, most CPUs do not)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from conch.contracts.errors import ConchError
from export.precision.crash import ended_by
from export.precision.files import save
from export.precision.quiet import quiet

# Sums over many terms and functions that overflow or lose their small end in 5 bits of exponent stay in fp32, as they
# do under PyTorch's automatic mixed precision; rounding to uint8 as well, for fp16 counts in steps of 0.125 there.
BLOCKED = ("Softmax", "LogSoftmax", "ReduceMean", "ReduceSum", "Pow", "Sqrt", "Exp", "Log", "Round")

# Smaller tensors cost more in Cast nodes than they save.
LEAST_ELEMENTS = 256


def convert_half(source: Path, path: Path, kept: set[str]) -> None:
    """Write `source` with fp16 arithmetic to `path`; inputs and outputs keep their types, nodes in `kept` fp32.

    ONNX Runtime (1.23 to 1.31) dies in its NCHWc transformer as it loads attention of nn.MultiheadAttention with a
    Transpose in fp16: where it does, they stay in fp32.

    Raises:
        ConchError: it dies of the file all the same.
    """
    _convert(source, path, kept, BLOCKED)
    if ended_by(path):
        _convert(source, path, kept, (*BLOCKED, "Transpose"))
        if name := ended_by(path):
            raise ConchError(
                f"in fp16 this graph ends ONNX Runtime {onnxruntime.__version__} with {name} as it loads it on a CPU, "
                "and a server with it; publish it in fp32 or int8"
            )


def _convert(source: Path, path: Path, kept: set[str], blocked: Sequence[str]) -> None:
    with quiet():
        model = convert_float_to_float16(
            onnx.load(source),
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *blocked],
            node_block_list=sorted(kept),
        )
    save(model, path)


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
    save(model, path)
