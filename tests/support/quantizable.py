"""ONNX files of linear layers for `conch export onnx`: made at once, without an exporter."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH, HIDDEN, CLASSES = 64, 128, 16


def weights(*shape: int, seed: int = 0) -> NDArray:
    """Random, of the size that keeps activations at theirs."""
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def perceptron(path: Path, opset: int = 18, fixed: int | None = None, softmax: bool = True) -> Path:
    """Two linear layers over sequences [batch, time, WIDTH] to classes; `fixed` makes the batch axis that number."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["hidden"], "first layer"),
        helper.make_node("Relu", ["hidden"], ["positive"], "relu"),
        helper.make_node("MatMul", ["positive", "second"], ["logits"], "second layer"),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["y"], "last"),
    ]
    first = weights(WIDTH, HIDDEN)
    hidden = np.maximum(_kinds() @ first, 0)
    tensors = {"first": first, "second": ((hidden - hidden.mean(axis=0)) / HIDDEN).T.astype(np.float32)}
    return write(path, nodes, tensors, CLASSES, opset, fixed)


def spoiled(path: Path) -> Path:
    """One linear layer that ignores its first input, which is a million times larger than the others."""
    matrix = weights(WIDTH, CLASSES)
    matrix[0] = 0
    return write(path, [helper.make_node("MatMul", ["x", "w"], ["y"], "layer")], {"w": matrix}, CLASSES)


def write(
    path: Path, nodes: list[onnx.NodeProto], tensors: dict[str, NDArray], outputs: int, opset: int = 18,
    fixed: int | None = None,
) -> Path:  # fmt: skip
    """A model of `x` [batch, time, WIDTH] to `y` [batch, time, outputs]."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [fixed or "batch", "time", width])
        for name, width in (("x", WIDTH), ("y", outputs))
    )
    initializers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "linear", [x], [y], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def sequences(path: Path, items: int = 400, first: float = 1.0) -> Path:
    """Inputs of them in an .npz file: each row of a class that `perceptron` is sure of, with a little noise.

    Args:
        path: of the file.
        items: how many.
        first: how many times as large the first of WIDTH numbers is.
    """
    draw = np.random.default_rng(2)
    x = (_kinds()[draw.integers(0, CLASSES, (items, 3))] + 0.1 * draw.standard_normal((items, 3, WIDTH))).astype(
        np.float32
    )
    x[..., 0] *= first
    np.savez(path, x=x)
    return path


def _kinds() -> NDArray:
    """A row [WIDTH] for each class."""
    return 3 * np.random.default_rng(1).standard_normal((CLASSES, WIDTH))
