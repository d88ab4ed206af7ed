"""Clean graphs: what is dirty is found, what the exporters leave is cleaned, large weights lie beside the file."""

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from torch import nn

from export.conversion import convert as conversion
from export.conversion.cleaning import clean, findings, module_path
from export.conversion.convert import EXPORTERS, Exporter, convert
from export.proof.parity import parity_grid
from export.publication.pipeline import export_checkpoint
from serving.errors import ServingError
from serving.onnx_files.releases import find_release
from tests.support import breaking, modules
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe
from training.recipe import Served, Tensor

HEAD = '<ir_version: 10, opset_import: ["" : 20]> graph (float[batch, 4] x) => (float[batch, 4] y)'
WEIGHTS = numpy_helper.from_array(np.ones((512, 4), np.float32), "one")


def graph(body: str, *initializers: TensorProto) -> onnx.ModelProto:
    model = parser.parse_model(f"{HEAD} {{ {body} }}")
    model.graph.initializer.extend(initializers)
    return model


def normalised() -> onnx.ModelProto:
    """A convolution with batch normalisation after it."""
    names = ("scale", "bias", "mean", "variance")
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
                helper.make_node("BatchNormalization", ["c", *names], ["y"], name="norm"),
            ],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 5, 5])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 3, 3])],
            [
                numpy_helper.from_array(np.ones((3, 2, 3, 3), np.float32), "w"),
                *(numpy_helper.from_array(np.full(3, 0.5, np.float32), name) for name in names),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    model.ir_version = 10
    return model


DIRTY = {
    "is dead: nothing reads its outputs": graph("y = Relu(x) d = Neg(x)"),
    "initializer 'one' is dead": graph("y = Relu(x)", WEIGHTS),
    "is constant and not folded": graph("c = Constant<value = float[4] {1, 2, 3, 4}>() y = Add(x, c)"),
    "computes a shape that is fixed": graph("t = Transpose<perm = [1, 0]>(x) g = Gemm<transA = 1>(t, w) "
        "s = Shape(f) n = Cast<to = 1>(s) m = ReduceSum(n) y = Mul(g, m)",
        numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"), numpy_helper.from_array(np.zeros(3), "f")),
    "(Transpose) is constant and not folded": graph(
        "t = Transpose<perm = [1, 0]>(one) a = MatMul(x, t) y = MatMul(a, one)", WEIGHTS),
    "is not folded into Conv": normalised(),
    "initializer 'two' repeats 'one'": graph(
        "a = MatMul(x, t) b = Transpose<perm = [1, 0]>(one) c = Transpose<perm = [1, 0]>(two) y = Relu(x)"
        "d = Add(b, c)", WEIGHTS, numpy_helper.from_array(np.ones((512, 4), np.float32), "two"),
        numpy_helper.from_array(np.eye(4, dtype=np.float32), "t")),
}  # fmt: skip


@pytest.mark.parametrize("said", DIRTY)
def test_a_dirty_graph_is_told(said: str) -> None:
    told = findings(DIRTY[said])
    assert any(said in finding for finding in told) or (
        said == "computes a shape that is fixed" and any("Shape) is constant" in finding for finding in told)
    )


@pytest.mark.parametrize("said", DIRTY)
def test_cleaning_leaves_nothing_to_tell_and_the_same_function(said: str) -> None:
    dirty = DIRTY[said]
    model = onnx_ir.serde.deserialize_model(dirty)
    clean(model)
    cleaned = onnx_ir.serde.serialize_model(model)
    assert findings(cleaned) == []
    assert len(cleaned.graph.node) < len(dirty.graph.node) or said.startswith("initializer 'one'")
    shape = [dim.dim_value or 3 for dim in dirty.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    from export.proof.runtime import onnx_predict

    np.testing.assert_allclose(
        onnx_predict(cleaned.SerializeToString())({"x": x})["y"],
        onnx_predict(dirty.SerializeToString())({"x": x})["y"],
        rtol=1e-5,
    )


@pytest.mark.slow
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_fixed_shape_arithmetic_of_a_module_is_folded(tmp_path: Path, exporter: Exporter) -> None:
    class Reshapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2)), nn.ConvTranspose2d(3, 1, 2))
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.layers(x)).flatten(1)

    served = breaking.served(Reshapes(), ("batch", 9))
    convert(served, tmp_path / "model.onnx", exporter)
    model = onnx.load(tmp_path / "model.onnx")
    operators = [node.op_type for node in model.graph.node]
    assert not {"Shape", "Concat", "Gather", "BatchNormalization", "Constant"} & set(operators)
    assert findings(model) == []
    assert parity_grid(served, tmp_path / "model.onnx").passed


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("unflattened", [True, False])
def test_normalisation_of_a_linear_layer_is_folded(
    tmp_path: Path, exporter: Exporter, bias: bool, unflattened: bool
) -> None:
    """The first layers of a GAN generator, and of a perceptron."""
    norm = nn.BatchNorm2d(3) if unflattened else nn.BatchNorm1d(12)
    for _, tensor in (*norm.named_parameters(), *norm.named_buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor.data, 0.5, 2)
    middle = (nn.Unflatten(1, (3, 2, 2)), norm) if unflattened else (norm,)
    layers = nn.Sequential(nn.Linear(4, 12, bias=bias), *middle, nn.ReLU(), nn.Flatten())
    served = breaking.served(layers, ("batch", 12))
    convert(served, tmp_path / "model.onnx", exporter)
    model = onnx.load(tmp_path / "model.onnx")
    assert [node.op_type for node in model.graph.node if node.op_type in ("Gemm", "MatMul", "BatchNormalization")] == [
        "Gemm"
    ]
    assert findings(model) == []
    assert parity_grid(served, tmp_path / "model.onnx").passed


@pytest.mark.parametrize(
    ("name", "exporter"),
    [*itertools.product(("LSTM", "GRU"), EXPORTERS), ("RNN", "torchscript")],  # dynamo unrolls RNN over its example
)
@pytest.mark.slow
def test_no_shape_arithmetic_is_left_around_recurrent_layers(tmp_path: Path, exporter: Exporter, name: str) -> None:
    """Of any length, with the operators' own first states; the first axis of what is stepped over is time."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(11, 5)
            self.layers = getattr(nn, name)(5, 6, 2, batch_first=True)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.layers(self.embedding(tokens))[0]

    examples = {"tokens": np.random.default_rng(0).integers(0, 11, (4, 9))}
    served = Served(
        "recurrent",
        Recurrent().eval(),
        (Tensor("tokens", "int64", ("batch", "time"), high=10),),
        (Tensor("features", "float32", ("batch", "time", 6)),),
        examples,
        largest_batch=4,
        sizes={"time": (1, 2, 9)},
    )
    convert(served, tmp_path / "model.onnx", exporter)
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert sorted(operators) == sorted(["Gather", "Transpose", "Transpose", name, name, "Squeeze", "Squeeze"])
    assert parity_grid(served, tmp_path / "model.onnx").passed


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_nothing_of_the_exporting_machine_is_in_the_file(tmp_path: Path, exporter: Exporter) -> None:
    convert(modules.served(modules.Affine()), tmp_path / "model.onnx", exporter)
    data = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(__file__).parent).encode() not in data
    assert b"stack_trace" not in data


def test_module_paths_of_both_exporters() -> None:
    assert module_path("/network/blocks/blocks.0/conv1/Conv", {}) == "network.blocks.0.conv1"
    assert module_path("/Softmax", {}) == ""
    scopes = {"pkg.torch.onnx.name_scopes": "['', 'network', 'network.lstm', 'lstm']"}
    assert module_path("node_LSTM_68", scopes) == "network.lstm"


@pytest.mark.slow
def test_a_large_model_is_published_with_its_weights_beside(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "LARGEST_FILE", 4)
    path = write_line_recipe(tmp_path, ("nn.Linear(1, 1)", "nn.Sequential(nn.Linear(1, 512), nn.Linear(512, 1))"),
                             ('{"error": 0.01}', '{"error": 100.0}'), ("0.2", "1e-3"))  # fmt: skip
    (exported,) = export_checkpoint(train_recipe(path))
    data = exported.version / "model.onnx.data"
    manifest = json.loads((exported.version / "manifest.json").read_text())
    assert data.stat().st_size >= 512 * 4
    assert (exported.version / "model.onnx").stat().st_size < 5000
    assert manifest["sha256"]["external_data"] == {"model.onnx.data": hashlib.sha256(data.read_bytes()).hexdigest()}
    assert manifest["bytes"] == data.stat().st_size + (exported.version / "model.onnx").stat().st_size
    assert manifest["nodes"] <= manifest["nodes_before_cleaning"]


@pytest.mark.parametrize(("release", "opset", "ir_version"), [("24.04", 20, 9), ("24.10", 20, 10), ("26.08", 20, 10)])
def test_the_release_decides_the_ir_version(tmp_path: Path, release: str, opset: int, ir_version: int) -> None:
    convert(modules.served(modules.Affine()), tmp_path / "model.onnx", "torchscript", find_release(release))
    model = onnx.load(tmp_path / "model.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir_version)


def test_an_unknown_release_lists_the_known_ones() -> None:
    with pytest.raises(ServingError, match=r"--triton 23\.01: unknown release; known are 24\.04, .*26\.09"):
        find_release("23.01")
