"""What a configuration leaves out is taken from the graph, as NVIDIA's C++ backend does."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import graphs
from tests.unit.serving.conftest import Import
from tests.unit.serving.test_graph_tensors import BFLOAT16, FIXED, config, floats, session


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version folder."""
    return tmp_path


def completed(backend: Import, version: Path, graph: str, configuration: dict[str, Any]) -> dict[str, Any]:
    session(graph, version / "model.onnx")
    backend("auto_complete").auto_complete(configuration, version)
    return configuration


def test_an_empty_configuration_gets_everything(backend: Import, version: Path) -> None:
    found = completed(backend, version, graphs.AFFINE, config([], [], 0))
    assert found == {
        "max_batch_size": 4,
        "dynamic_batching": {},
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [
            {"name": "doubled", "data_type": "TYPE_FP32", "dims": [4]},
            {"name": "total", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}},
        ],
    }
    backend("graph_tensors").check_config(found, session(graphs.AFFINE, version / "model.onnx"))


def test_without_a_batch_axis_it_stays_unbatched(backend: Import, version: Path) -> None:
    found = completed(backend, version, graphs.UNBATCHED, config([], [], 0))
    assert (found["max_batch_size"], "dynamic_batching" in found) == (0, False)
    assert [(entry["name"], entry["dims"]) for entry in found["input"] + found["output"]] == [
        ("x", [2, 3]),
        ("factor", [1]),
        ("scaled", [2, 3]),
        ("total", [1]),
    ]


@pytest.mark.parametrize(
    "given", [{"dynamic_batching": {"max_queue_delay_microseconds": 7}}, {"sequence_batching": {}}]
)
def test_what_is_configured_stays(backend: Import, version: Path, given: dict[str, Any]) -> None:
    outputs = [floats("doubled", 4)]
    found = completed(backend, version, graphs.AFFINE, config([], list(outputs), 16, **given))
    assert found["output"] == outputs
    assert [entry["name"] for entry in found["input"]] == ["x"]
    assert found["max_batch_size"] == 16
    assert found.items() >= given.items()
    assert len(found.keys() & {"dynamic_batching", "sequence_batching"}) == 1


def test_a_batch_of_one_needs_no_batcher(backend: Import, version: Path) -> None:
    assert "dynamic_batching" not in completed(backend, version, graphs.AFFINE, config([], [], 1))


def test_a_complete_configuration_is_left_alone_and_no_file_is_read(backend: Import, version: Path) -> None:
    complete = config([floats("x", 4)], [floats("doubled", 4)], 0)
    backend("auto_complete").auto_complete(complete, version / "none")
    assert complete == config([floats("x", 4)], [floats("doubled", 4)], 0)


@pytest.mark.parametrize(
    ("graph", "max_batch_size", "message"),
    [
        (FIXED, 8, r"max_batch_size is 8, but 'x' has the shape \[1, 4\] without an open first axis: allowed is 0"),
        (BFLOAT16, 0, r"input 'x' has type tensor\(bfloat16\), which cannot be served, allowed are tensor\(bool\)"),
    ],
)
def test_what_cannot_be_served_is_named(
    backend: Import, version: Path, graph: str, max_batch_size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        completed(backend, version, graph, config([], [], max_batch_size))


def test_a_missing_file_is_named(backend: Import, version: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*model\.onnx"):
        backend("auto_complete").auto_complete(config([], [], 0), version)
