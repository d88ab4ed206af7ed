"""The configuration keys of NVIDIA's C++ backend reach ONNX Runtime, and a wrong one is a load error with its name."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from serving.tritonserver import BACKEND
from tests.live import graphs


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The backend's `ort_session`, imported as Triton does, with what Triton's stub would provide."""
    warnings: list[str] = []
    provided = SimpleNamespace(Logger=SimpleNamespace(log_warn=warnings.append), warnings=warnings)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", provided)
    monkeypatch.syspath_prepend(str(BACKEND))
    yield importlib.import_module("ort_session")
    sys.modules.pop("ort_session")


def tensor(name: str, kind: str, *dims: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": [str(dim) for dim in dims], **more}


X, DOUBLED = tensor("x", "TYPE_FP32", 4), tensor("doubled", "TYPE_FP32", 4)
TOTAL = tensor("total", "TYPE_FP32", 1, reshape={"shape": []})


def test_parameters_reach_the_session(backend: ModuleType) -> None:
    given = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "off",
        "enable_mem_pattern": "0",
        "unknown": "ignored",
    }
    options = backend.session_options({"optimization": {"graph": {"level": 1}}}, given)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert (options.enable_cpu_mem_arena, options.enable_mem_pattern) == (False, False)
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def test_threads_do_not_spin_where_instances_share_cores(backend: ModuleType) -> None:
    def spins(threads: int, instances: int) -> bool:
        config = {"instance_group": [{"count": instances}]}
        options = backend.session_options(config, {"intra_op_thread_count": str(threads)})
        try:
            return bool(options.get_session_config_entry("session.intra_op.allow_spinning") != "0")
        except RuntimeError:  # not set
            return True

    assert not spins(threads=1024, instances=2)
    assert spins(threads=1, instances=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intra_op_thread_count", "99999999999"),
        ("inter_op_thread_count", "-1"),
        ("execution_mode", "2"),
        ("enable_mem_arena", "maybe"),
    ],
)
def test_a_wrong_value_is_named(backend: ModuleType, key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"parameter '{key}' is '{value}', allowed are"):
        backend.session_options({}, {key: value})


def test_an_accelerator_it_does_not_have_is_refused(backend: ModuleType) -> None:
    config = {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [{"name": "tensorrt"}]}}}
    with pytest.raises(ValueError, match="gpu execution accelerator 'tensorrt' needs NVIDIA's C"):
        backend.session_options(config, {})


def test_cuda_is_exact_and_measures_no_algorithms(backend: ModuleType) -> None:
    assert backend.cuda_options({}, "1") == {
        "device_id": "1",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    given = {"cudnn_conv_algo_search": "2", "gpu_mem_limit": "1024", "arena_extend_strategy": "1"}
    assert backend.cuda_options(given, "0") == {
        "device_id": "0",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "DEFAULT",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": "1024",
    }


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([X], [DOUBLED, TOTAL], None),
        ([X], [DOUBLED], None),
        ([tensor("y", "TYPE_FP32", 4)], [DOUBLED], r"input 'y' is not in the graph, which has \['x'\]"),
        ([], [DOUBLED], r"the graph needs the inputs \['x'\]"),
        ([tensor("x", "TYPE_FP64", 4)], [DOUBLED], "input 'x' has type TYPE_FP64, the graph's is TYPE_FP32"),
        ([tensor("x", "TYPE_FP32", 5)], [DOUBLED], r"input 'x' has shape \[-1, 5\] .* the graph's is \[-1, 4\]"),
        ([X], [tensor("total", "TYPE_FP32", 1)], r"output 'total' has shape \[-1, 1\] .* the graph's is \[-1\]"),
    ],
)
def test_the_configuration_is_compared_with_the_graph(
    backend: ModuleType, tmp_path: Path, inputs: list[Any], outputs: list[Any], message: str | None
) -> None:
    session = ort.InferenceSession(graphs.write(graphs.AFFINE, tmp_path / "model.onnx"))
    config = {"max_batch_size": 8, "input": inputs, "output": outputs}
    if message is None:
        backend.check_config(config, session)
    else:
        with pytest.raises(ValueError, match=message):
            backend.check_config(config, session)


def test_a_gpu_instance_without_cuda_warns_and_uses_the_cpu(backend: ModuleType, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    (tmp_path / "1").mkdir()
    graphs.write(graphs.AFFINE, tmp_path / "1" / "model.onnx")
    place = {"model_instance_kind": "GPU", "model_instance_device_id": "0"}
    args = {"model_repository": str(tmp_path), "model_version": "1", **place}
    opened = backend.open_session({"name": "affine", "max_batch_size": 8}, args)
    assert opened.get_providers() == ["CPUExecutionProvider"]
    assert "install onnxruntime-gpu" in sys.modules["triton_python_backend_utils"].warnings[0]


def test_a_missing_file_is_named(backend: ModuleType, tmp_path: Path) -> None:
    args = {"model_repository": str(tmp_path), "model_version": "3", "model_instance_kind": "CPU"}
    with pytest.raises(ValueError, match=r"there is no file .*/3/other.onnx"):
        backend.open_session({"name": "m", "default_model_filename": "other.onnx"}, args)
