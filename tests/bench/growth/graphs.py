"""ONNX models whose rows, pixels or steps are open, so that one file is asked for little and for much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, CHANNELS, HIDDEN = 16, 16, 64


def write_dense(file: Path) -> Path:
    """x float32 [batch, 16] -> y float32 [batch, 16]: the smallest work, so that the rest is what is seen."""
    nodes = [helper.make_node("MatMul", ["x", "weights"], ["y"])]
    return _write(file, nodes, {"weights": (FEATURES, FEATURES)}, ["batch", FEATURES], ["batch", FEATURES])


def write_convolutions(file: Path) -> Path:
    """x float32 [batch, 3, height, width] -> y float32 [batch, 16, 1, 1]: three convolutions of 3x3 and a mean."""
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "third"], ["e"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["e"], ["y"]),
    ]
    weights = {
        "first": (CHANNELS, 3, 3, 3),
        "second": (CHANNELS, CHANNELS, 3, 3),
        "third": (CHANNELS, CHANNELS, 3, 3),
    }
    return _write(file, nodes, weights, ["batch", 3, "height", "width"], ["batch", CHANNELS, 1, 1])


def write_recurrent(file: Path) -> Path:
    """x float32 [batch, time, 16] -> y float32 [batch, 64]: the last state of an LSTM."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "input", "recurrent"], ["", "last"], hidden_size=HIDDEN),
        helper.make_node("Constant", [], ["first"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Squeeze", ["last", "first"], ["y"]),
    ]
    weights = {"input": (1, 4 * HIDDEN, FEATURES), "recurrent": (1, 4 * HIDDEN, HIDDEN)}
    return _write(file, nodes, weights, ["batch", "time", FEATURES], ["batch", HIDDEN])


def _write(
    file: Path,
    nodes: list[onnx.NodeProto],
    weights: Mapping[str, tuple[int, ...]],
    takes: Sequence[str | int],
    gives: Sequence[str | int],
) -> Path:
    numbers = np.random.default_rng(0)
    graph = helper.make_graph(
        nodes,
        file.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
        [
            numpy_helper.from_array((numbers.standard_normal(shape) / 10).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file
