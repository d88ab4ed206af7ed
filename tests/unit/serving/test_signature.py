"""What is published is what ONNX Runtime's session says, not what a file declares: so does the backend judge."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf.json_format import MessageToDict
from onnx import parser

from serving.errors import ServingError
from serving.lint.check import lint_model
from serving.onnx_files.signature import declared_signature, open_session, session_signature
from serving.repository.configuration import model_config, parse, render
from serving.repository.foreign import publish_file
from tests.support import graphs
from tests.unit.serving.conftest import Import


def ones(rows: int, columns: int) -> str:
    """A weight `w` in ONNX's text."""
    return f"<float[{rows}, {columns}] w = {{{', '.join(['1'] * rows * columns)}}}>"


# Output `y` is declared with less than the graph makes of it, or with something else; what a session says of it.
DECLARED = {
    "an open axis that the weights fix": (
        f"g (float[batch, 2, 4] x) => (float[batch, 2, width] y) {ones(4, 6)} {{ y = MatMul(x, w) }}",
        [2, 6],
    ),
    "an open axis that folded constants fix": (
        "g (float[batch, 6] x) => (float[batch, p, q] y) <int64[1] a = {-1}, int64[2] b = {2, 3}> "
        "{ s = Concat<axis = 0>(a, b) y = Reshape(x, s) }",
        [2, 3],
    ),
    "an axis that folded arithmetic fixes": (
        "g (float[batch, 1] x) => (float[batch, q] y) <float[2] f = {1.0, 9.0}> "
        "{ r = Sqrt(f) s = Cast<to = 7>(r) ones = ConstantOfShape(s) y = Add(ones, x) }",
        [3],
    ),
    "another length": ("g (float[batch, 6] x) => (float[batch, 5] y) { y = Relu(x) }", [-1]),
    "other names": ("g (float[batch, 6] x) => (float[other, width] y) { y = Relu(x) }", [6]),
    "no shape, of an operator of ONNX Runtime's own": (
        f"g (float[batch, 6] x) => (float y) {ones(6, 4)} {{ y = com.microsoft.FusedMatMul(x, w) }}",
        [4],
    ),
}  # fmt: skip
HEADER = '<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>'


def write(text: str, file: Path, *shapeless: str) -> Path:
    """A file of this text; the outputs `shapeless` lose the shape they declare."""
    model = parser.parse_model(HEADER + text)
    for value in model.graph.output:
        if value.name in shapeless:
            value.type.tensor_type.ClearField("shape")
    onnx.save(model, file)
    return file


def as_triton_hands_it(config: Any) -> dict[str, Any]:
    return {"max_batch_size": 0, **MessageToDict(config, preserving_proto_field_name=True)}


@pytest.mark.parametrize("case", DECLARED)
def test_published_dims_are_those_that_the_backend_finds(case: str, tmp_path: Path, backend: Import) -> None:
    text, dims = DECLARED[case]
    file = write(text, tmp_path / "model.onnx", *(["y"] if "no shape" in case else []))
    version, _ = publish_file(file, "declared", tmp_path / "models")
    config = parse((version.parent / "config.pbtxt").read_text())
    assert config.max_batch_size == 32
    assert list(config.output[0].dims) == dims
    backend("graph_tensors").check_config(as_triton_hands_it(config), ort.InferenceSession(version / "model.onnx"))
    assert not [finding for finding in lint_model(version.parent, cores=2) if finding.severity == "error"]


@pytest.mark.parametrize("case", DECLARED)
def test_a_completed_configuration_loads(case: str, tmp_path: Path, backend: Import) -> None:
    file = write(DECLARED[case][0], tmp_path / "model.onnx", *(["y"] if "no shape" in case else []))
    config: dict[str, Any] = {"max_batch_size": 0, "input": [], "output": []}
    backend("auto_complete").auto_complete(config, tmp_path)
    backend("graph_tensors").check_config(config, ort.InferenceSession(file))


def test_lint_judges_by_the_optimizations_of_the_configuration(tmp_path: Path) -> None:
    text, _ = DECLARED["an open axis that folded constants fix"]
    version, _ = publish_file(write(text, tmp_path / "model.onnx"), "folded", tmp_path / "models")
    file = version.parent / "config.pbtxt"
    config = parse(file.read_text())
    config.optimization.graph.level = 2  # nothing is folded: the session does not know these lengths
    file.write_text(render(config))
    assert [finding.rule for finding in lint_model(version.parent, cores=2)] == ["tensor-shape"]


def test_a_first_axis_that_the_graph_fixes_is_no_batch(tmp_path: Path) -> None:
    file = write(
        f"g (float[k, 6] x) => (float[batch, 6] y) {ones(3, 4)} {{ y = MatMul(w, x) }}", tmp_path / "model.onnx"
    )
    with pytest.raises(ServingError, match="the first axis of output 'y' is fixed to 3"):
        publish_file(file, "fixed", tmp_path / "models", max_batch=4)
    _, trial = publish_file(file, "fixed", tmp_path / "models")
    assert trial.max_batch_size == 0


def test_a_scalar_is_told_from_an_unknown_shape(tmp_path: Path) -> None:
    text = "g (float[2, 3] x) => (float[2, 3] y, float total) { y = Relu(x) total = ReduceSum<keepdims = 0>(x) }"
    for shapeless in ((), ("total",)):
        config = model_config(write(text, tmp_path / "model.onnx", *shapeless), "scalar", 0)
        assert [list(output.dims) for output in config.output] == [[2, 3], [1]]
    contradicted = write("g (float[n, 6] x) => (float[a, b, c] y) { y = Relu(x) }", tmp_path / "model.onnx")
    with pytest.raises(ServingError, match="output 'y': ONNX Runtime knows no shape of it"):
        model_config(contradicted, "contradicted", 0)
    declared_scalar = write("g (float[n, 6] x) => (float y) { y = Relu(x) }", tmp_path / "model.onnx")
    with pytest.raises(ServingError, match="output 'y': ONNX Runtime knows no shape of it"):
        model_config(declared_scalar, "scalar", 0)


def test_an_answer_of_other_axes_than_declared_is_declared(tmp_path: Path) -> None:
    """Where a shape is computed from the data, nobody knows before a run how many axes it has."""
    text = "g (float[n] x, int64[k] shape) => (float y) { y = Reshape(x, shape) }"
    file = write(text, tmp_path / "model.onnx")
    np.savez(tmp_path / "inputs.npz", x=np.ones(6, np.float32), shape=np.array([2, 3]))
    version, trial = publish_file(file, "computed", tmp_path / "models", inputs_from=tmp_path / "inputs.npz")
    assert trial.changes == ("output 'y', declared as [], is declared as [-1, -1]: it came as [2, 3]",)
    config = parse((version.parent / "config.pbtxt").read_text())
    assert list(config.output[0].dims) == [-1, -1]


def test_what_is_declared_stands_in_where_nothing_loads_the_file(tmp_path: Path) -> None:
    file = graphs.write(graphs.AFFINE, tmp_path / "model.onnx")
    model = onnx.load(file)
    assert declared_signature(model) == session_signature(open_session(file, "here"), model)
