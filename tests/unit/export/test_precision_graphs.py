"""Rewritten graphs compute what they computed before."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from conch.contracts.errors import ConchError
from export.conversion.convert import convert
from export.precision.groups import groups_of
from export.precision.half import convert_half, store_half
from export.precision.prepare import prepare
from export.precision.recurrent import quantize_recurrent, recurrent_nodes, row_by_row
from training.recipe import Served, Tensor
from training.recipes.resnet import ResNet


def run(model: onnx.ModelProto | Path, **inputs: NDArray) -> NDArray:
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    answer: NDArray = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    return answer


@pytest.fixture
def resnet(tmp_path: Path) -> Served:
    torch.manual_seed(0)
    network = ResNet(channels=1, classes=10, depth=8)
    network.train()
    with torch.no_grad():
        network(torch.randn(16, 1, 28, 28) * 2 + 1)  # gives the batch normalisations statistics to be rewritten
    rows = np.random.default_rng(0).standard_normal((8, 1, 28, 28), np.float32)
    return Served(
        name="resnet",
        module=network.eval(),
        inputs=(Tensor("x", "float32", ("batch", 1, 28, 28)),),
        outputs=(Tensor("y", "float32", ("batch", 10)),),
        examples={"x": rows},
    )


@pytest.mark.slow
def test_normalisations_and_subsampled_skips_become_convolutions(resnet: Served, tmp_path: Path) -> None:
    fp32, prepared = tmp_path / "fp32.onnx", tmp_path / "prepared.onnx"
    convert(resnet, fp32, "dynamo")
    prepare(fp32, prepared)
    before, after = ({node.op_type for node in onnx.load(path).graph.node} for path in (fp32, prepared))
    assert {"BatchNormalization", "Pad", "Slice"} <= before
    assert not {"BatchNormalization", "Pad", "Slice"} & after
    x = resnet.examples["x"]
    np.testing.assert_allclose(run(prepared, x=x), run(fp32, x=x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_is_before_the_first_layer_and_after_the_last_stays_in_fp32(resnet: Served, tmp_path: Path) -> None:
    fp32, prepared = tmp_path / "fp32.onnx", tmp_path / "prepared.onnx"
    convert(resnet, fp32, "dynamo")
    prepare(fp32, prepared)
    model = onnx.load(prepared)
    widening, stem = [node for node in model.graph.node if node.op_type == "Conv"][:2]
    chosen = {name for members in groups_of(model).values() for name in members}
    assert widening.name not in chosen  # one input channel, made four for the stem
    assert stem.name in chosen
    assert {node.op_type for node in model.graph.node if node.name in chosen} >= {"Conv", "Relu", "Add", "Gemm"}


def test_other_slices_and_pads_are_left_alone(tmp_path: Path) -> None:
    constants = {"start": [1], "end": [8], "axis": [2], "step": [1], "pads": [0, 0, 0, 0, 0, 1, 0, 0]}
    nodes = [
        helper.make_node("Slice", ["x", "start", "end", "axis", "step"], ["s"], "slice"),
        helper.make_node("Pad", ["s", "pads"], ["y"], "pad"),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None, None, 8]) for name in "xy"]
    tensors = [numpy_helper.from_array(np.array(numbers, np.int64), name) for name, numbers in constants.items()]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], tensors)
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    prepare(path, tmp_path / "prepared.onnx")
    assert [node.op_type for node in onnx.load(tmp_path / "prepared.onnx").graph.node] == ["Slice", "Pad"]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(16, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, time, 16] to the same."""
        return self.lstm(x)[0]


@pytest.fixture
def lstm(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).standard_normal((8, 5, 16), np.float32)
    served = Served(
        name="lstm",
        module=Recurrent().eval(),
        inputs=(Tensor("x", "float32", ("batch", "time", 16)),),
        outputs=(Tensor("y", "float32", ("batch", "time", 16)),),
        examples={"x": rows},
        sizes={"time": (1, 5)},
    )
    path = tmp_path / "lstm.onnx"
    convert(served, path, "torchscript")
    prepared = tmp_path / "prepared.onnx"
    prepare(path, prepared)
    return prepared


def alone(predict: Callable[[NDArray], NDArray], x: NDArray) -> NDArray:
    return np.concatenate([predict(x[row : row + 1]) for row in range(len(x))])


def test_row_by_row_keeps_rows_from_influencing_each_other(lstm: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((7, 3, 16), np.float32)
    x[0] *= 50  # one loud row takes the whole range of a scale that it shares
    together, apart = tmp_path / "together.onnx", tmp_path / "apart.onnx"
    nodes = set(recurrent_nodes(onnx.load(lstm)))
    assert nodes
    quantize_recurrent(lstm, together, nodes, rows_alone=False, reduce_range=True)
    quantize_recurrent(lstm, apart, nodes, rows_alone=True, reduce_range=True)
    onnx.checker.check_model(onnx.load(apart))
    assert np.abs(run(together, x=x) - alone(lambda row: run(together, x=row), x)).max() > 1e-3
    np.testing.assert_array_equal(run(apart, x=x), alone(lambda row: run(apart, x=row), x))
    np.testing.assert_allclose(run(apart, x=x[1:]), run(lstm, x=x[1:]), atol=0.05)


def test_row_by_row_changes_nothing_in_fp32(lstm: Path) -> None:
    x = np.random.default_rng(1).standard_normal((7, 3, 16), np.float32)
    np.testing.assert_allclose(run(row_by_row(onnx.load(lstm)), x=x), run(lstm, x=x), atol=1e-6)


def test_weights_stored_in_fp16_are_within_its_precision(lstm: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    store_half(lstm, half, set())
    x = np.random.default_rng(1).standard_normal((2, 3, 16), np.float32)
    difference = np.abs(run(half, x=x) - run(lstm, x=x)).max()
    assert 0 < difference < 2e-3
    assert half.stat().st_size < 0.75 * lstm.stat().st_size


@pytest.mark.parametrize(("ends", "transposed_in"), [([""], TensorProto.FLOAT16), (["SIGSEGV", ""], TensorProto.FLOAT)])
def test_transposes_stay_in_fp32_where_fp16_ends_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[str], transposed_in: int
) -> None:
    path = transposing(tmp_path / "fp32.onnx")
    left = iter(ends)
    monkeypatch.setattr("export.precision.half.ended_by", lambda _: next(left))
    convert_half(path, tmp_path / "half.onnx", set())
    assert next(left, None) is None
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx"))
    (transpose,) = [node for node in model.graph.node if node.op_type == "Transpose"]
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    assert kinds[transpose.output[0]] == transposed_in


def test_what_ends_the_runtime_all_the_same_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.precision.crash.LOAD", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ConchError, match="with SIGSEGV as it loads it on a CPU, and a server with it"):
        convert_half(transposing(tmp_path / "fp32.onnx"), tmp_path / "half.onnx", set())
    monkeypatch.setattr("export.precision.crash.LOAD", "raise SystemExit(1)")  # refused: the gate tells
    convert_half(tmp_path / "fp32.onnx", tmp_path / "half.onnx", set())


def transposing(path: Path) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, "batch", 32])
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2]),
        helper.make_node("MatMul", ["t", "w"], ["y"], "layer"),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.eye(32, dtype=np.float32), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path
