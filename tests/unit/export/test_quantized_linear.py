"""Linear layers in int8 and in weights of few bits: what the files compute, and for whom they are made."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from conch.contracts.errors import ConchError
from export.conversion import convert
from export.precision.dynamic import LARGEST_WEIGHT, quantize_columns, scale_a_row
from export.precision.files import is_large, size_of
from export.precision.gate import Gate, PrecisionRefused, counts, find_variant
from export.precision.judge import Judged
from export.precision.linear import linear_layers, prepare_linear
from export.precision.order import BLOCK_SIZES, Order
from export.precision.original import Original
from export.precision.quantizers import Quantizer, quantizers_for
from export.proof.runtime import onnx_predict
from serving.lint.processor_rules import saturating
from serving.onnx_files.releases import find_release
from tests.support import quantizable
from training.score import AllowedLoss, Metric, Predict

ROWS = np.random.default_rng(3).standard_normal((7, 5, quantizable.WIDTH)).astype(np.float32)


def original(fp32: Path, calibration: Mapping[str, NDArray] | None = None) -> Original:
    return Original(
        name="m", fp32=fp32, inputs=("x",), outputs={"y": "float32"}, largest_batch=7, examples={"x": ROWS},
        calibration=calibration or {}, how_to_calibrate="give some", runs=lambda: iter(()), check=lambda _: (),
        tolerances={},
    )  # fmt: skip


def written(quantizer: Quantizer, folder: Path, method: int = 0) -> Path:
    path = folder / quantizer.methods[method] / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    quantizer.write(path, quantizer.methods[method], set())
    return path


def error(path: Path, fp32: Path) -> float:
    expected = onnx_predict(fp32)({"x": ROWS})["y"]
    return float(np.linalg.norm(onnx_predict(path)({"x": ROWS})["y"] - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_a_scale_a_row_gives_a_row_the_same_answer_whoever_is_beside_it(tmp_path: Path, opset: int) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx", opset, softmax=False)
    tensor, row = quantizers_for(original(fp32), Order("int8", "x86", "dynamic"))
    extreme = ROWS.copy()
    extreme[1:] *= 1000
    for quantizer, alone in ((tensor, False), (row, True)):
        path = written(quantizer, tmp_path)
        assert error(path, fp32) < 0.03
        run = onnx_predict(path)
        assert np.array_equal(run({"x": ROWS})["y"][0], run({"x": extreme})["y"][0]) is alone
        assert not list(saturating(onnx.load(path)))


@pytest.mark.parametrize(("target", "largest"), [("x86", 64), ("x86-vnni", 127)])
def test_dynamic_weights_use_the_bits_that_the_target_adds_exactly(tmp_path: Path, target: str, largest: int) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx")
    for quantizer in quantizers_for(original(fp32), Order("int8", target, "dynamic")):  # type: ignore[arg-type]
        model = onnx.load(written(quantizer, tmp_path))
        found = [
            int(np.abs(numpy_helper.to_array(tensor).astype(int)).max())
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
        ]
        assert found == [largest] * 2
        assert bool(list(saturating(model))) is (target == "x86-vnni")


def test_columns_of_zeros_and_rows_of_zeros_stay_zeros(tmp_path: Path) -> None:
    matrix = quantizable.weights(quantizable.WIDTH, 4)
    matrix[:, 1] = 0
    whole, scale = quantize_columns(matrix, LARGEST_WEIGHT[True])
    assert (whole[:, 1] == 0).all()
    assert np.abs(whole * scale - matrix).max() <= scale.max() / 2 + 1e-6
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "layer")
    fp32 = quantizable.write(tmp_path / "fp32.onnx", [node], {"w": matrix}, 4)
    scale_a_row(fp32, tmp_path / "row.onnx", {"layer"}, reduce_range=True)
    rows = ROWS.copy()
    rows[0] = 0
    answer = onnx_predict(tmp_path / "row.onnx")({"x": rows})["y"]
    assert (answer[0] == 0).all()
    assert (answer[..., 1] == 0).all()
    assert np.isfinite(answer).all()


def test_a_gemm_is_split_into_what_can_be_quantized(tmp_path: Path) -> None:
    matrix, bias = quantizable.weights(32, quantizable.WIDTH), np.arange(32, dtype=np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "w", "b"], ["gemm"], "gemm", transB=1),
        helper.make_node("Reshape", ["gemm", "shape"], ["y"]),
    ]
    tensors = {"w": matrix, "b": bias, "shape": np.array([-1, 5, 32]), "flat": np.array([-1, quantizable.WIDTH])}
    fp32 = quantizable.write(tmp_path / "fp32.onnx", nodes, tensors, 32)
    prepare_linear(fp32, tmp_path / "prepared" / "model.onnx")
    model = onnx.load(tmp_path / "prepared" / "model.onnx")
    assert linear_layers(model) == ("gemm",)
    assert "Gemm" not in {node.op_type for node in model.graph.node}
    assert "w" not in {tensor.name for tensor in model.graph.initializer}
    assert error(tmp_path / "prepared" / "model.onnx", fp32) < 1e-6


def test_a_bias_with_an_axis_too_many_is_quantized(tmp_path: Path) -> None:
    """As TensorFlow's converters write it: the tool makes a Gemm of MatMul and Add, and then fails on its bias."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["product"], "layer"),
        helper.make_node("Add", ["product", "b"], ["sum"], "bias"),
        helper.make_node("Reshape", ["sum", "shape"], ["y"]),
    ]
    tensors = {
        "w": quantizable.weights(quantizable.WIDTH, 32), "b": np.arange(32, dtype=np.float32)[None],
        "shape": np.array([-1, 5, 32]), "flat": np.array([-1, quantizable.WIDTH]),
    }  # fmt: skip
    fp32 = quantizable.write(tmp_path / "fp32.onnx", nodes, tensors, 32)
    way = quantizers_for(original(fp32, {"x": ROWS}), Order("int8", "x86", "static"))[0]
    path = written(way, tmp_path)
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(path).graph.node}
    assert error(path, fp32) < 0.03


def test_what_the_tool_stumbles_on_is_a_try_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise ValueError("ambiguous\ntruth")

    monkeypatch.setattr("export.precision.static.quantize_static", stumble)
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx")
    given = original(fp32, {"x": ROWS})
    gate = Gate(given, _Lenient(), find_release("24.10"))
    chosen, tries = find_variant(gate, quantizers_for(given, Order("int8", "x86")), tmp_path)
    assert [one.failures for one in tries[:3]] == [
        ("ONNX Runtime's tool fails on it: ValueError: ambiguous truth",)
    ] * 3
    assert chosen.method.startswith("dynamic")
    (tmp_path / "again").mkdir()
    with pytest.raises(PrecisionRefused, match=r"none of 3 variants passed the gate; .* ambiguous truth"):
        find_variant(gate, quantizers_for(given, Order("int8", "x86", "static")), tmp_path / "again")


@pytest.mark.parametrize(
    ("order", "error_below", "ratio"),
    [
        (Order("int4", "x86"), 0.15, 0.25),
        (Order("int4", "x86", block_size=64), 0.18, 0.22),
        (Order("int4", "gpu"), 0.15, 0.25),
        (Order("int8", "x86", "weights"), 0.02, 0.40),
    ],
)
def test_weights_alone_take_few_bits(tmp_path: Path, order: Order, error_below: float, ratio: float) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx", softmax=False)
    ways = quantizers_for(original(fp32), order)
    assert len(ways) == (1 if order.target == "gpu" else 2)
    for way in ways:
        path = written(way, tmp_path)
        attributes = [
            {attribute.name: attribute.i for attribute in node.attribute}
            for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits"
        ]  # fmt: skip
        assert [one["bits"] for one in attributes] == [4 if order.precision == "int4" else 8] * 2
        assert {one["block_size"] for one in attributes} == {order.block_size or 32}
        assert {one.get("accuracy_level", 0) for one in attributes} == {4 if "int8 arithmetic" in way.methods[0] else 0}
        assert error(path, fp32) < error_below
        assert size_of(path) / size_of(fp32) < ratio


@pytest.mark.parametrize(
    ("order", "release", "said"),
    [
        (Order("int8", "x86", "weights"), "24.10", "served by 25.08 or later: --triton 25.08"),
        (Order("int8", "x86", "weights"), "25.08", ""),
        (Order("int4", "x86"), "24.04", ""),
        (Order("int8", "x86", "dynamic"), "24.04", ""),
    ],
)
def test_a_release_that_does_not_compute_it_is_told(tmp_path: Path, order: Order, release: str, said: str) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx")
    gate = Gate(original(fp32), _Lenient(), find_release(release))
    way = quantizers_for(original(fp32), order)[0]
    found = gate.try_out(written(way, tmp_path), way, way.methods[0], ())
    assert said in "; ".join(found.failures)
    assert bool(found.failures) is bool(said)
    assert found.mendable is not bool(said)


class _Lenient:
    """Lets all pass."""

    described = "nothing"
    remarks: Sequence[str] = ()
    fp32: tuple[Metric, ...] = ()
    allowed: Mapping[str, AllowedLoss] = {}

    def judge(self, predict: Predict) -> Judged:
        return Judged(())


@pytest.mark.parametrize("order", [Order("int8", "x86", "dynamic"), Order("int4", "x86"), Order("fp16", "gpu")])
def test_weights_beyond_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx", softmax=False)
    small = error(written(quantizers_for(original(fp32), order)[0], tmp_path), fp32)
    monkeypatch.setattr(convert, "LARGEST_FILE", 2000)
    assert is_large(fp32)
    folder = tmp_path / "large"
    folder.mkdir()
    path = written(quantizers_for(original(fp32), order)[0], folder)
    assert (path.parent / convert.EXTERNAL_DATA).stat().st_size > path.stat().st_size
    assert size_of(path) == sum(file.stat().st_size for file in path.parent.iterdir())
    assert error(path, fp32) == pytest.approx(small)


@pytest.mark.parametrize(
    ("precision", "target", "way", "block_size", "said"),
    [
        ("fp16", "x86", "dynamic", None, "fp16 is converted, not quantized"),
        ("int4", "x86", "static", None, "int4 is for weights alone"),
        ("int8", "gpu", "dynamic", None, "GPUs have no kernels for it"),
        ("int8", "x86", "auto", 32, "--block-size is for weights alone"),
        ("int4", "x86", "auto", 48, "allowed are 16, 32, 64, 128, 256"),
    ],
)
def test_what_contradicts_itself_is_refused(
    precision: str, target: str, way: str, block_size: int | None, said: str
) -> None:
    with pytest.raises(ConchError, match=said):
        Order(precision, target, way, block_size)  # type: ignore[arg-type]


def test_the_ways_that_are_tried_follow_from_the_graph_and_the_inputs(tmp_path: Path) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx")
    order = Order("int8", "x86")

    def tried(given: Original, wanted: Order) -> list[str]:
        return [method for way in quantizers_for(given, wanted) for method in way.methods]

    dynamic = ["dynamic, a scale a tensor", "dynamic, a scale a row"]
    static = ["entropy", "percentile", "min-max"]
    assert tried(original(fp32, {"x": ROWS}), order) == [*static, *dynamic]
    assert tried(original(fp32), order) == dynamic
    assert tried(original(fp32, {"x": ROWS}), replace(order, target="gpu")) == static
    assert tried(original(fp32, {"x": ROWS}), replace(order, way="static")) == static
    with pytest.raises(ConchError, match="no training inputs to calibrate int8 with for x; give some"):
        tried(original(fp32), replace(order, way="static"))
    old = quantizable.perceptron(tmp_path / "old.onnx", opset=9)
    with pytest.raises(ConchError, match="its opset is 9, dynamic quantization needs 11"):
        tried(original(old), replace(order, way="dynamic"))


def test_of_many_layers_an_eighth_more_is_kept_at_each_try() -> None:
    assert list(counts(5)) == [1, 2, 3, 4]
    assert list(counts(1)) == []
    many = list(counts(200))
    assert many[:16] == list(range(1, 17))
    assert len(many) < 45
    assert many[-1] < 200


def test_every_block_size_has_a_kernel(tmp_path: Path) -> None:
    fp32 = quantizable.perceptron(tmp_path / "fp32.onnx", softmax=False)
    errors = [
        error(written(quantizers_for(original(fp32), Order("int4", "x86", block_size=size))[0], tmp_path), fp32)
        for size in BLOCK_SIZES
    ]
    assert max(errors) < 0.2
