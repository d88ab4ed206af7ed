"""Batches of fixed sizes in buffers of their own, as CUDA graphs need them.

Here on the CPU: the binding, the padding and the choice of size are those of a GPU, the recording is not.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.support import graphs
from tests.unit.serving.conftest import Import
from tests.unit.serving.test_graph_tensors import SCALAR, config, floats, session, tensor
from tests.unit.serving.test_runner import Counting

X, DOUBLED, TOTAL = floats("x", 4), floats("doubled", 4), floats("total", 1, reshape={"shape": []})


RECORDED = ["1"] * 3 + ["2"] * 3
"""The graph numbers of the runs with which two sizes are recorded."""


def with_graphs(configuration: dict[str, Any], *sizes: int) -> dict[str, Any]:
    """`configuration` with CUDA graphs for batches of these sizes."""
    specs = [{"batch_size": size, "input": {}} for size in sizes]
    return configuration | {"optimization": {"cuda": {"graphs": True, "graph_spec": specs}}}


class Recording(Counting):
    """A session that keeps the graph number of each bound run."""

    def __init__(self, session: ort.InferenceSession) -> None:
        super().__init__(session)
        self.graphs: list[str] = []

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        self.graphs.append(options.get_run_config_entry("gpu_graph_id"))
        self.session.run_with_iobinding(binding, options)


def opened(backend: Import, folder: Path, *sizes: int) -> tuple[Any, Recording]:
    """A runner of AFFINE with buffers for these batch sizes, and its session."""
    recording = Recording(session(graphs.AFFINE, folder / "model.onnx"))
    configuration = with_graphs(config([X], [DOUBLED, TOTAL]), *sizes)
    batches = backend("cuda_graphs").GraphBatches(configuration, recording, "cpu", 0)
    return backend("runner").Runner(configuration, recording, None, batches), recording


def requests(*rows: int) -> list[dict[str, np.ndarray]]:
    """Requests of so many rows, each row with numbers of its own."""
    numbers = np.arange(sum(rows) * 4, dtype=np.float32).reshape(-1, 4) + 1
    return [{"x": part} for part in np.split(numbers, np.cumsum(rows)[:-1])]


@pytest.mark.parametrize(
    ("most", "sizes", "wanted"), [(8, (), [1, 2, 4, 8]), (6, (), [1, 2, 4, 6]), (8, (8, 3, 3), [3, 8]), (1, (), [1])]
)
def test_sizes_are_those_given_or_those_of_the_warm_up(
    backend: Import, most: int, sizes: tuple[int, ...], wanted: list[int]
) -> None:
    configuration = with_graphs({"max_batch_size": most}, *sizes)
    assert backend("cuda_graphs").graph_sizes(configuration) == wanted
    configuration["optimization"]["cuda"]["graphs"] = False
    assert backend("cuda_graphs").graph_sizes(configuration) == []


def test_what_a_graph_spec_says_beyond_a_size_is_refused(backend: Import) -> None:
    configuration = with_graphs({"max_batch_size": 4}, 2)
    configuration["optimization"]["cuda"]["graph_spec"][0]["input"] = {"x": {"dim": ["4"]}}
    with pytest.raises(ValueError, match="`input` or `graph_lower_bound`, allowed is batch_size"):
        backend("cuda_graphs").graph_sizes(configuration)


def test_every_size_is_recorded_when_the_model_is_loaded_under_a_number_of_its_own(
    backend: Import, tmp_path: Path
) -> None:
    _, recording = opened(backend, tmp_path, 2, 4)
    assert recording.graphs == RECORDED, "0 is ONNX Runtime's own, -1 turns recording off"


@pytest.mark.parametrize(
    ("rows", "graph"), [((1,), "1"), ((2,), "1"), ((1, 1), "1"), ((3,), "2"), ((1, 2), "2"), ((1, 2, 1), "2")]
)
def test_a_batch_is_padded_to_the_next_size_and_answered_without_it(
    backend: Import, tmp_path: Path, rows: tuple[int, ...], graph: str
) -> None:
    runner, recording = opened(backend, tmp_path, 2, 4)
    asked = requests(*rows)
    answers = runner.run(asked, ["doubled", "total"])
    assert recording.graphs[len(RECORDED) :] == [graph]
    assert recording.runs == 0
    for request, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * request["x"])
        np.testing.assert_array_equal(answer["total"], request["x"].sum(1))
    assert [*runner.run(asked, ["total"])[0]] == ["total"]


@pytest.mark.parametrize("rows", [(5,), (3, 2), (0,)])
def test_larger_batches_and_none_run_without_a_graph(backend: Import, tmp_path: Path, rows: tuple[int, ...]) -> None:
    runner, recording = opened(backend, tmp_path, 2, 4)
    asked = requests(*rows)
    for request, answer in zip(asked, runner.run(asked, ["doubled"]), strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * request["x"])
    assert recording.graphs == RECORDED
    assert recording.runs == 1


def test_answers_stay_when_the_buffers_are_used_again(backend: Import, tmp_path: Path) -> None:
    runner, _ = opened(backend, tmp_path, 4)
    first, second = requests(3, 3)
    (kept,) = runner.run([first], ["doubled"])
    runner.run([second], ["doubled"])
    np.testing.assert_array_equal(kept["doubled"], 2 * first["x"])


def test_padding_is_a_row_that_the_model_takes(backend: Import, tmp_path: Path) -> None:
    # PICK fails on an index outside its table; what another request left in the buffer must not come into a run.
    configuration = with_graphs(config([tensor("index", "TYPE_INT64", 1)], [floats("value", 1)]), 4)
    opened_session = session(graphs.PICK, tmp_path / "model.onnx")
    batches = backend("cuda_graphs").GraphBatches(configuration, opened_session, "cpu", 0)
    runner = backend("runner").Runner(configuration, opened_session, None, batches)
    assert isinstance(runner.run([{"index": np.array([[3], [99]])}], ["value"])[0], Exception)
    assert runner.run([{"index": np.array([[3]])}], ["value"])[0]["value"].item() == 30


def test_an_open_axis_that_the_configuration_fixes_is_fixed(backend: Import, tmp_path: Path) -> None:
    graph = (
        "sums (float[batch, time] x) => (float[batch] y) <int64[1] axis = {1}> { y = ReduceSum<keepdims=0>(x, axis) }"
    )
    configuration = with_graphs(config([floats("x", 3)], [floats("y", 1, reshape={"shape": []})]), 2)
    found = backend("cuda_graphs").fixed_tensors(configuration, session(graph, tmp_path / "model.onnx"))
    assert found == ({"x": ([3], "float32")}, {"y": ([], "float32")})


@pytest.mark.parametrize(
    ("graph", "configuration", "message"),
    [
        (
            graphs.LENGTHS,
            config([tensor("tokens", "TYPE_INT64", -1)], [floats("features", -1, 2)]),
            r"input 'tokens' is tensor\(int64\) \['batch', -1\], CUDA graphs need .* all others fixed: turn",
        ),
        (
            SCALAR,
            config([floats("x", 4), floats("factor", 1)], [floats("y", 4)]),
            r"input 'factor' .* \[\], CUDA graphs",
        ),
        (
            "text (string[batch, 1] x) => (string[batch, 1] y) { y = Identity(x) }",
            config([tensor("x", "TYPE_STRING", 1)], [tensor("y", "TYPE_STRING", 1)]),
            r"input 'x' is tensor\(string\) \['batch', 1\], CUDA graphs need numbers",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name(
    backend: Import, tmp_path: Path, graph: str, configuration: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        backend("cuda_graphs").fixed_tensors(configuration, session(graph, tmp_path / "model.onnx"))
