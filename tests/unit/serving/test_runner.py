"""Requests are joined into one run and answered apart: ragged ones too, and those that cannot be joined."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.support import graphs
from tests.unit.serving.conftest import Import
from tests.unit.serving.test_graph_tensors import DEFAULTED, SCALAR, config, floats, session, tensor

X, Y = floats("x", 4), floats("y", 4)


class Counting:
    """A session that counts its runs."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session, self.runs = session, 0

    def run(self, *arguments: Any) -> Any:
        self.runs += 1
        return self.session.run(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def opened(backend: Import, folder: Path, graph: str, configuration: dict[str, Any]) -> tuple[Any, Counting]:
    """A runner of `graph`, and its session."""
    counting = Counting(session(graph, folder / "model.onnx"))
    backend("graph_tensors").check_config(configuration, counting)
    return backend("runner").Runner(configuration, counting), counting


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_requests_share_a_run_and_get_their_own_rows(backend: Import, tmp_path: Path) -> None:
    doubled, total = floats("doubled", 4), floats("total", 1, reshape={"shape": []})
    runner, counting = opened(backend, tmp_path, graphs.AFFINE, config([X], [doubled, total]))
    requests = [{"x": np.full((rows, 4), rows, np.float32)} for rows in (1, 3, 2)]
    answers = runner.run(requests, ["doubled", "total"])
    assert counting.runs == 1
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * request["x"])
        np.testing.assert_array_equal(answer["total"], request["x"].sum(1))
    assert [*runner.run(requests, ["total"])[1]] == ["total"]


def test_one_that_breaks_the_graph_fails_alone(backend: Import, tmp_path: Path) -> None:
    configuration = config([tensor("index", "TYPE_INT64", 1)], [floats("value", 1)])
    runner, counting = opened(backend, tmp_path, graphs.PICK, configuration)
    answers = runner.run([{"index": np.array([[index]])} for index in (3, 99, 5)], ["value"])
    assert counting.runs == 4
    assert [answers[0]["value"].item(), answers[2]["value"].item()] == [30, 50]
    assert "idx=99" in str(answers[1])


def test_unlike_shapes_that_got_into_one_batch_are_answered_apart(backend: Import, tmp_path: Path) -> None:
    configuration = config([tensor("tokens", "TYPE_INT64", -1)], [floats("features", -1, 2)])
    runner, _ = opened(backend, tmp_path, graphs.LENGTHS, configuration)
    answers = runner.run([{"tokens": np.ones((1, length), np.int64)} for length in (2, 3)], ["features"])
    assert [answer["features"].shape for answer in answers] == [(1, 2, 2), (1, 3, 2)]


def test_an_optional_input_left_out_takes_the_graphs_value(backend: Import, tmp_path: Path) -> None:
    unbatched = config([floats("x", -1, 2), floats("w", 2, optional=True)], [floats("y", -1, 2)], 0)
    runner, _ = opened(backend, tmp_path, DEFAULTED, unbatched)
    without = {"x": row(1, 1)}
    answers = runner.run([without | {"w": np.array([5, 7], np.float32)}, without], ["y"])
    assert [answer["y"].tolist() for answer in answers] == [[[5, 7]], [[2, 3]]]


def test_requests_with_and_without_an_optional_input_share_no_run(backend: Import, tmp_path: Path) -> None:
    graph = "defaulted (float[n, 2] x, float[m, 2] w) => (float[n, 2] y) <float[1, 2] w = {2, 3}> { y = Mul(x, w) }"
    batched = config([floats("x", 2), floats("w", 2, optional=True)], [floats("y", 2)])
    # The graph's own value has one row, so ONNX Runtime's axis is fixed; what is tested is what shares a run.
    counting = Counting(session(graph, tmp_path / "model.onnx"))
    runner = backend("runner").Runner(batched, counting)
    without = {"x": row(1, 1)}
    answers = runner.run([without, without | {"w": row(5, 7)}, without], ["y"])
    assert [answer["y"].tolist() for answer in answers] == [[[2, 3]], [[5, 7]], [[2, 3]]]


def test_a_scalar_of_a_batched_model_is_one_value_a_request(backend: Import, tmp_path: Path) -> None:
    runner, _ = opened(backend, tmp_path, SCALAR, config([X, floats("factor", 1)], [Y]))
    x = np.ones((2, 4), np.float32)
    factors = (np.full((2, 1), 3, np.float32), np.full((2, 1), 5, np.float32), np.array([[1], [2]], np.float32))
    answers = runner.run([{"x": x, "factor": factor} for factor in factors], ["y"])
    assert [answer["y"].tolist() for answer in answers[:2]] == [(3 * x).tolist(), (5 * x).tolist()]
    assert "input 'factor' is one value for all rows" in str(answers[2])


def test_scalars_are_answered_in_their_configured_dims(backend: Import, tmp_path: Path) -> None:
    graph = "scalars (float[n, 2] x) => (float total) { total = ReduceSum<keepdims = 0>(x) }"
    x = np.ones((3, 2), np.float32)
    for max_batch_size, dims, shape in ((0, (1,), (1,)), (0, (1, 1), (1, 1)), (8, (1,), (3, 1))):
        inputs = [floats("x", 2)] if max_batch_size else [floats("x", -1, 2)]
        runner, _ = opened(backend, tmp_path, graph, config(inputs, [floats("total", *dims)], max_batch_size))
        (answer,) = runner.run([{"x": x}], ["total"])
        assert answer["total"].shape == shape
        assert (answer["total"] == 6).all()


TEXT = "text (string[n, 2] s) => (string[n, 2] t) { t = Identity(s) }"


def test_text_is_utf8_with_nul_bytes_and_nothing_else(backend: Import, tmp_path: Path) -> None:
    configuration = config([tensor("s", "TYPE_STRING", 2)], [tensor("t", "TYPE_STRING", 2)])
    runner, _ = opened(backend, tmp_path, TEXT, configuration)
    good = np.array([[b"a\0b", "Käse 貝".encode()]], dtype=object)
    answers = runner.run([{"s": good}, {"s": np.array([[b"\xff", b"ok"]], dtype=object)}], ["t"])
    assert answers[0]["t"].tolist() == [["a\0b", "Käse 貝"]]
    assert "input 's' holds text that is not UTF-8" in str(answers[1])


KINDS: dict[str, tuple[str, list[Any]]] = {
    "BATCH_ELEMENT_COUNT": ("n", [2, 3, 4]),
    "BATCH_ACCUMULATED_ELEMENT_COUNT": ("n", [2, 5, 9]),
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": ("n", [0, 2, 5, 9]),
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": ("n", [0, 0, 0, 0]),
    "BATCH_ITEM_SHAPE": ("n, 1", [[2], [3], [2], [2]]),
    "BATCH_ITEM_SHAPE_FLATTEN": ("n", [2, 3, 2, 2]),
}
"""Kind -> the axes and the value of the batch input, for requests of [1, 2], [1, 3] and [2, 2] elements."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data_type", ["TYPE_FP32", "TYPE_INT32"])
def test_ragged_requests_are_joined_and_told_apart(backend: Import, tmp_path: Path, kind: str, data_type: str) -> None:
    axes, wanted = KINDS[kind]
    number = {"TYPE_FP32": "float", "TYPE_INT32": "int32"}[data_type]
    graph = (
        f"ragged (float[k] x, {number}[{axes}] made) => (float[k] y, {number}[{axes}] same) "
        "{ y = Neg(x) same = Identity(made) }"
    )
    made = {"kind": kind, "target_name": ["made"], "data_type": data_type, "source_input": ["x"]}
    scattered = {"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["y"], "source_input": ["x"]}
    configuration = config(
        [floats("x", -1, allow_ragged_batch=True)], [floats("y", -1)], batch_input=[made], batch_output=[scattered]
    )
    runner, counting = opened(backend, tmp_path, graph, configuration)
    requests = [
        {"x": np.arange(rows * length, dtype=np.float32).reshape(rows, length)}
        for rows, length in [(1, 2), (1, 3), (2, 2)]
    ]
    feeds = backend("ragged").Ragged(configuration).join(requests)
    assert feeds["x"].tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert feeds["made"].dtype == (np.float32 if data_type == "TYPE_FP32" else np.int32)
    assert feeds["made"].tolist() == wanted
    answers = runner.run(requests, ["y"])
    assert counting.runs == 1
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], -request["x"])


def test_a_ragged_output_of_another_size_is_refused(backend: Import, tmp_path: Path) -> None:
    graph = "ragged (float[k] x) => (float[m] y) <int64[1] two = {2}> { y = Tile(x, two) }"
    scattered = {"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["y"], "source_input": ["x"]}
    configuration = config([floats("x", -1, allow_ragged_batch=True)], [floats("y", -1)], batch_output=[scattered])
    runner, _ = opened(backend, tmp_path, graph, configuration)
    (answer,) = runner.run([{"x": row(1, 2)}], ["y"])
    assert "output 'y' has 4 elements, the requests' shapes [[1, 2]] need 2" in str(answer)


def test_batch_inputs_have_the_types_that_triton_makes(backend: Import) -> None:
    made = {"kind": "BATCH_ELEMENT_COUNT", "target_name": ["made"], "data_type": "TYPE_INT64", "source_input": ["x"]}
    with pytest.raises(ValueError, match="batch_input 'made' has type TYPE_INT64, allowed are TYPE_FP32, TYPE_INT32"):
        backend("ragged").Ragged(config([X], [Y], batch_input=[made]))
