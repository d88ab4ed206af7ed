"""States are kept by correlation id: reset, forgotten, bounded, and never another sequence's."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tests.unit.serving.conftest import Import

START, END = 1, 2


@pytest.fixture
def module(backend: Import) -> ModuleType:
    """The backend's `sequence_state`."""
    return backend("sequence_state")


@dataclass
class Request:
    """What the table asks of Triton's request."""

    id: int | str
    marks: int = 0

    def correlation_id(self) -> int | str:
        return self.id

    def flags(self) -> int:
        return self.marks


class Clock:
    """Seconds that a test moves on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def session() -> ort.InferenceSession:
    """y = x + total_in and total_out = y: the running sum; count_out = count_in + 1. An x above 9 fails."""

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1])

    nodes = [
        helper.make_node("Cast", ["x"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["checked"]),
        helper.make_node("Add", ["checked", "total_in"], ["y"]),
        helper.make_node("Identity", ["y"], ["total_out"]),
        helper.make_node("Add", ["count_in", "one"], ["count_out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "running_sum",
        [value("x"), value("count_in"), value("total_in")],
        [value("y"), value("count_out"), value("total_out")],
        [
            helper.make_tensor("table", TensorProto.FLOAT, [10], list(range(10))),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ort.InferenceSession(model.SerializeToString())


def state(name: str, **more: Any) -> dict[str, Any]:
    return {
        "input_name": f"{name}_in",
        "output_name": f"{name}_out",
        "data_type": "TYPE_FP32",
        "dims": ["1"],
        "initial_state": [{"name": "zero", "data_type": "TYPE_FP32", "dims": ["1"], "zero_data": True}],
    } | more


def config(places: int = 4, **changes: Any) -> dict[str, Any]:
    batching = {
        "oldest": {"max_candidate_sequences": places},
        "max_sequence_idle_microseconds": "5000000",
        "state": [state("count"), state("total")],
    }
    outputs = [{"name": "y", "data_type": "TYPE_FP32", "dims": ["1"]}]
    return {"max_batch_size": 8, "input": [], "output": outputs, "sequence_batching": batching | changes}


class Table:
    """A table over the running sum, and the batches it ran."""

    def __init__(self, module: ModuleType, places: int = 4, folder: Path = Path(), **changes: Any) -> None:
        self.session = session()
        self.clock = Clock()
        self.states = module.SequenceStates(config(places, **changes), folder, self.session, self.clock)
        self.runner = sys.modules["runner"].Runner(config(places), self.session)
        self.batches: list[int] = []

    def run(self, *steps: tuple[int | str, int, float]) -> list[Any]:
        """Correlation id, flags and x of each request to y, or the error's text."""
        requests = [Request(name, marks) for name, marks, _ in steps]
        garbage = np.full((1, 1), 77, np.float32)  # what Triton hands a python-based backend
        inputs = [{"x": np.full((1, 1), x, np.float32), "count_in": garbage, "total_in": garbage} for _, _, x in steps]
        answers = self.states.run(requests, inputs, ["y"], self._run)
        assert all(isinstance(answer, Exception) or list(answer) == ["y"] for answer in answers)
        return [str(answer) if isinstance(answer, Exception) else float(answer["y"][0, 0]) for answer in answers]

    def _run(self, feeds: Sequence[dict[str, np.ndarray]], outputs: Sequence[str]) -> Any:
        self.batches.append(len(feeds))
        return self.runner.run(feeds, outputs)


def test_each_sequence_has_its_own_state_and_ids_are_numbers_or_text(module: ModuleType) -> None:
    table = Table(module)
    assert table.run((7, START, 1), ("7", START, 2), ("b", START, 3)) == [1, 2, 3]
    assert table.run(("b", 0, 1), (7, 0, 1), ("7", 0, 1)) == [4, 2, 3]
    assert table.batches == [3, 3]


def test_two_requests_of_a_sequence_in_one_batch_run_in_order(module: ModuleType) -> None:
    table = Table(module)
    assert table.run((1, START, 1), (2, START, 5), (1, 0, 2), (1, END, 3), (2, 0, 1)) == [1, 5, 3, 6, 6]
    assert table.batches == [2, 2, 1]
    assert table.states.under_way == 1


def test_start_begins_anew_and_end_forgets(module: ModuleType) -> None:
    table = Table(module)
    assert table.run((1, START, 4)) == [4]
    assert table.run((1, START, 2)) == [2]
    assert table.run((1, END, 2)) == [4]
    (refused,) = table.run((1, 0, 2))
    assert refused.startswith("sequence 1 is not under way")
    assert table.run((1, START | END, 3)) == [3]
    assert table.states.under_way == 0


def test_an_unknown_sequence_is_refused_by_name_and_its_neighbours_are_answered(module: ModuleType) -> None:
    table = Table(module)
    refused, answered = table.run(("nobody", 0, 1), (1, START, 1))
    assert "sequence 'nobody' is not under way" in refused
    assert answered == 1


def test_an_idle_sequence_is_forgotten(module: ModuleType) -> None:
    table = Table(module)
    table.run((1, START, 1), (2, START, 1))
    table.clock.now += 4
    assert table.run((2, 0, 1)) == [2]
    table.clock.now += 2
    refused, answered = table.run((1, 0, 1), (2, 0, 1))
    assert "sequence 1 is not under way" in refused
    assert "no request for 5 s" in refused
    assert answered == 3
    assert table.states.under_way == 1


def test_what_is_kept_is_bounded_and_the_longest_idle_makes_way(module: ModuleType) -> None:
    table = Table(module, places=3)
    for name in (1, 2, 3):
        table.run((name, START, name))
    table.run((1, 0, 0))
    assert table.run((4, START, 4)) == [4]
    assert table.states.under_way == 3
    (refused,) = table.run((2, 0, 1))
    assert "sequence 2 is not under way" in refused
    assert "when 3 others were" in refused
    assert table.run((1, 0, 1), (3, 0, 1), (4, 0, 1)) == [2, 4, 5]
    for name in range(100, 1100):
        table.run((name, START, 1))
    assert table.states.under_way == 3


def test_a_failed_run_leaves_the_state_as_it_was(module: ModuleType) -> None:
    table = Table(module)
    table.run((1, START, 3), (2, START, 4))
    failed, answered = table.run((1, 0, 99), (2, 0, 1))
    assert "out of data bounds" in failed
    assert answered == 5
    assert table.run((1, 0, 1)) == [4]


def test_a_sequence_whose_first_request_fails_goes_on_from_its_initial_state(module: ModuleType) -> None:
    """As with NVIDIA's backend, whose core has begun the sequence before it knows how the run ends."""
    table = Table(module)
    assert "out of data bounds" in table.run((3, START, 99))[0]
    assert table.run((3, 0, 1), (3, 0, 2)) == [1, 3]
    assert "out of data bounds" in table.run((3, START, 99))[0], "begun anew: what it had is gone"
    assert table.run((3, END, 2)) == [2]
    assert "out of data bounds" in table.run((4, START | END, 99))[0]
    assert table.states.under_way == 0
    assert "sequence 4 is not under way" in table.run((4, 0, 1))[0]


def test_a_failed_beginning_takes_a_place_like_any_other(module: ModuleType) -> None:
    table = Table(module, places=2)
    table.run((1, START, 1), (2, START, 99), (3, START, 99))
    assert table.states.under_way == 2
    assert "sequence 1 is not under way" in table.run((1, 0, 1))[0]


def test_a_request_of_no_sequence_begins_with_zeros_and_leaves_nothing(module: ModuleType) -> None:
    table = Table(module)
    assert table.run((0, 0, 2), ("", 0, 3), (0, 0, 4)) == [2, 3, 4]
    assert table.batches == [3]
    assert table.states.under_way == 0


def test_a_kept_state_does_not_hold_the_batch_it_came_from(module: ModuleType) -> None:
    table = Table(module)
    table.run(*((name, START, 1) for name in (1, 2, 3)))
    kept = table.states._kept[2].states
    assert all(array.base is None and array.nbytes == 4 for array in kept.values())


def test_the_first_state_may_come_from_a_file(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "initial_state").mkdir()
    np.array([5], np.float32).tofile(tmp_path / "initial_state" / "five")
    first = [{"name": "five", "data_type": "TYPE_FP32", "dims": ["1"], "data_file": "five"}]
    states = [state("count"), state("total", initial_state=first)]
    assert Table(module, folder=tmp_path, state=states).run((1, START, 1)) == [6]
    (tmp_path / "initial_state" / "five").write_bytes(b"xy")
    with pytest.raises(ValueError, match=r"'total_in'.*five: it has 2 bytes, needed are 4"):
        Table(module, folder=tmp_path, state=states)
    (tmp_path / "initial_state" / "five").unlink()
    with pytest.raises(ValueError, match="there is no such file"):
        Table(module, folder=tmp_path, state=states)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_name": "none"}, r"state input 'none' is not in the graph, which has \['count_in', 'total_in', 'x'\]"),
        ({"output_name": "none"}, "state output 'none' is not in the graph"),
        ({"data_type": "TYPE_INT32"}, "state input 'total_in' has type TYPE_INT32, the graph's is TYPE_FP32"),
        ({"dims": ["2"]}, r"has shape \[-1, 2\] \(with the batch axis\), the graph's is \[-1, 1\]"),
        ({"dims": []}, r"has shape \[-1\] \(with the batch axis\)"),
    ],
)
def test_a_state_that_is_not_the_graph_s_is_a_load_error(
    module: ModuleType, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Table(module, state=[state("total", **change)])


def test_the_default_idle_time_and_places_are_triton_s(module: ModuleType) -> None:
    table = Table(module, max_sequence_idle_microseconds="0", oldest={})
    table.run((1, START, 1))
    table.clock.now += 1
    assert "no request for 1 s, or made way when 8 others" in table.run((1, 0, 1))[0]
