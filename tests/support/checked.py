"""What `conch check` is asked to prove: modules, and ONNX files that are and are not what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

FILE = Path(__file__)


class Linear(nn.Module):
    """Three numbers of four; the same weights every time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y


class Named(Linear):
    """The same, called by its key, and another answer beside it."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"seen": x, "y": self.layer(x)}


class Dead(Linear):
    """Zeros, whatever goes in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x) - 100)


class Lookup(nn.Module):
    """A table of 60 rows and a factor: the order of the arguments matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(60, 2)

    def forward(self, tokens: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return self.table(tokens) * factor[:, None, None]


class Points(Linear):
    """Centred by the mean over axis 0, which is therefore no batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x - x.mean(0, keepdim=True))
        return y


class Untranslatable(nn.Module):
    """An operator that no exporter knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def write_linear(path: Path, off: float = 0.0, rows: int | None = None, **changes: str) -> Path:
    """The file of `Linear`: a weight `off`, its batch fixed to `rows`, its tensors called as `changes` say."""
    layer = Linear().layer
    weight = layer.weight.detach().numpy().copy()
    weight[1, 2] += off
    x, y = changes.get("x", "x"), changes.get("y", "y")
    return _write(
        path,
        [helper.make_node("Gemm", [x, "w", "b"], [y], transB=1)],
        [_value(x, [rows or "batch", 4])],
        [_value(y, [rows or "batch", 3])],
        {"w": weight, "b": layer.bias.detach().numpy()},
    )


def write_points(path: Path) -> Path:
    """The file of `Points`."""
    layer = Linear().layer
    return _write(
        path,
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Gemm", ["centred", "w", "b"], ["y"], transB=1),
        ],
        [_value("x", ["points", 4])],
        [_value("y", ["points", 3])],
        {"axes": np.array([0]), "w": layer.weight.detach().numpy(), "b": layer.bias.detach().numpy()},
    )


def write_mixing(path: Path) -> Path:
    """The file of `Linear`, but for a mean over the rows of a batch that it takes off: a file of one row is right."""
    layer = Linear().layer
    return _write(
        path,
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["rows"], transB=1),
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["apart"]),
            helper.make_node("ReduceSum", ["apart", "last"], ["sum"], keepdims=1),
            helper.make_node("Add", ["rows", "sum"], ["y"]),
        ],
        [_value("x", ["batch", 4])],
        [_value("y", ["batch", 3])],
        {
            "axes": np.array([0]), "last": np.array([1]),
            "w": layer.weight.detach().numpy(), "b": layer.bias.detach().numpy(),
        },
    )  # fmt: skip


def write_lookup(path: Path, off: float = 0.0, swapped: bool = False) -> Path:
    """The file of `Lookup`: one row of its table `off`, its inputs in another order."""
    table = Lookup().table.weight.detach().numpy().copy()
    table[47, 1] += off
    inputs = [_value("tokens", ["batch", "time"], TensorProto.INT64), _value("factor", ["batch"])]
    return _write(
        path,
        [
            helper.make_node("Gather", ["table", "tokens"], ["rows"]),
            helper.make_node("Unsqueeze", ["factor", "last"], ["column"]),
            helper.make_node("Mul", ["rows", "column"], ["y"]),
        ],
        inputs[::-1] if swapped else inputs,
        [_value("y", ["batch", "time", 2])],
        {"table": table, "last": np.array([1, 2])},
    )


def _value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray],
) -> Path:
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path
