"""Inputs that lie on a device are bound where they are; several requests are joined on the host.

`DeviceTensor` stands in for a tensor of Triton's Python backend in a GPU's memory: it says it is not on the CPU, and
hands out its memory by DLPack, which is the CPU's here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.support import graphs
from tests.unit.serving.conftest import Import
from tests.unit.serving.test_graph_tensors import SCALAR, config, floats, session
from tests.unit.serving.test_runner import Counting


class DeviceTensor:
    """A tensor that claims to be on a device."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def is_cpu(self) -> bool:
        return False

    def as_numpy(self) -> np.ndarray:
        raise AssertionError("a tensor on a GPU has no array")

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self._array.__dlpack__()


def opened(backend: Import, folder: Path, graph: str, configuration: dict[str, Any]) -> tuple[Any, Counting]:
    """A runner with the CPU in the place of a device, and its session."""
    counting = Counting(session(graph, folder / "model.onnx"))
    device = backend("device_memory").DeviceRuns(counting, "cpu", 0)
    return backend("runner").Runner(configuration, counting, device=device), counting


def placed(backend: Import, array: np.ndarray) -> dict[str, Any]:
    return {"x": backend("device_memory").take(DeviceTensor("x", array))}


AFFINE = config([floats("x", 4)], [floats("doubled", 4), floats("total", 1, reshape={"shape": []})])


def test_a_tensor_is_taken_where_it_lies(backend: Import) -> None:
    array = np.arange(4, dtype=np.float32)
    value = backend("device_memory").take(DeviceTensor("x", array))
    assert value.data_ptr() == array.ctypes.data


def test_booleans_stay_booleans(backend: Import) -> None:
    array = np.array([True, False])
    tensor = DeviceTensor("mask", array.view(np.uint8))  # as DLPack had them before it knew of booleans
    assert backend("device_memory").take(tensor, {"mask"}).data_type() == "tensor(bool)"


def test_one_request_runs_where_it_lies_and_its_outputs_stay(backend: Import, tmp_path: Path) -> None:
    runner, counting = opened(backend, tmp_path, graphs.AFFINE, AFFINE)
    array = np.arange(8, dtype=np.float32).reshape(2, 4)
    (answer,) = runner.run_placed([placed(backend, array)], ["total", "doubled"])
    assert counting.runs == 0, "bound, not fed"
    assert [*answer] == ["total", "doubled"]
    assert all(isinstance(value, ort.OrtValue) for value in answer.values())
    np.testing.assert_array_equal(answer["doubled"].numpy(), 2 * array)
    np.testing.assert_array_equal(answer["total"].numpy(), array.sum(1))


def test_what_kernels_could_not_read_is_copied(
    backend: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, counting = opened(backend, tmp_path, graphs.AFFINE, AFFINE)
    bound: list[str] = []

    class Binding:
        """A binding that tells how its inputs were bound."""

        def __init__(self, binding: ort.IOBinding) -> None:
            self.binding = binding

        def __getattr__(self, name: str) -> Any:
            bound.append(name)
            return getattr(self.binding, name)

    monkeypatch.setattr(counting, "io_binding", lambda: Binding(counting.session.io_binding()), raising=False)
    monkeypatch.setattr(
        counting, "run_with_iobinding", lambda b, o: counting.session.run_with_iobinding(b.binding, o), raising=False
    )
    memory = np.zeros(64, np.uint8)
    start = (4 - memory.ctypes.data) % 16  # aligned for its type, and no more
    crooked = memory[start : start + 16].view(np.float32).reshape(1, 4)
    crooked[:] = 3
    (answer,) = runner.run_placed([placed(backend, crooked)], ["doubled"])
    assert answer["doubled"].numpy().tolist() == [[6] * 4]
    assert "bind_cpu_input" in bound
    assert "bind_ortvalue_input" not in bound


def test_several_requests_are_joined_on_the_host(backend: Import, tmp_path: Path) -> None:
    runner, counting = opened(backend, tmp_path, graphs.AFFINE, AFFINE)
    array = np.ones((1, 4), np.float32)
    answers = runner.run_placed([placed(backend, array), {"x": 2 * array}], ["doubled"])
    assert counting.runs == 1
    assert [answer["doubled"].tolist() for answer in answers] == [[[2] * 4], [[4] * 4]]


def test_scalars_are_run_on_the_host(backend: Import, tmp_path: Path) -> None:
    configuration = config([floats("x", 4), floats("factor", 1)], [floats("y", 4)])
    runner, counting = opened(backend, tmp_path, SCALAR, configuration)
    request = placed(backend, np.ones((1, 4), np.float32)) | {"factor": np.full((1, 1), 3, np.float32)}
    (answer,) = runner.run_placed([request], ["y"])
    assert isinstance(answer["y"], np.ndarray)
    assert counting.runs == 1


def test_a_request_that_breaks_the_graph_is_its_own_error(backend: Import, tmp_path: Path) -> None:
    runner, _ = opened(backend, tmp_path, graphs.AFFINE, AFFINE)
    (answer,) = runner.run_placed([placed(backend, np.ones((1, 5), np.float32))], ["doubled"])
    assert isinstance(answer, Exception)


@pytest.mark.parametrize("array", [np.ones((2, 4), np.float32)])
def test_a_request_in_the_host_s_memory_is_answered_there(backend: Import, tmp_path: Path, array: np.ndarray) -> None:
    runner, counting = opened(backend, tmp_path, graphs.AFFINE, AFFINE)
    (answer,) = runner.run_placed([{"x": array}], ["doubled"])
    assert isinstance(answer["doubled"], np.ndarray)
    assert counting.runs == 1
