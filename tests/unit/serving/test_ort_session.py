"""The configuration keys of NVIDIA's C++ backend reach ONNX Runtime, and a wrong one is a load error with its name."""

import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from tests.support import graphs
from tests.unit.serving.conftest import Import

CPU = {"model_instance_kind": "CPU", "model_instance_device_id": "0"}


CUDA = "CUDAExecutionProvider"


def configured(parameters: dict[str, str], **more: Any) -> dict[str, Any]:
    """A configuration with `parameters`, in the form in which Triton passes it on."""
    return {"name": "m", "parameters": {key: {"string_value": value} for key, value in parameters.items()}, **more}


def entry(options: Any, key: str) -> str | None:
    """A configuration entry of a session's or a run's options; None where it is not set."""
    try:
        read = "get_session_config_entry" if isinstance(options, ort.SessionOptions) else "get_run_config_entry"
        return str(getattr(options, read)(key))
    except RuntimeError:
        return None


def test_parameters_reach_the_session(backend: Import) -> None:
    given = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "off",
        "enable_mem_pattern": "0",
        "session.use_device_allocator_for_initializers": "true",
        "unknown": "ignored",
    }
    options = backend("ort_session").session_options(configured(given))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert (options.enable_cpu_mem_arena, options.enable_mem_pattern) == (False, False)
    assert entry(options, "session.use_device_allocator_for_initializers") == "1"


def test_without_parameters_everything_is_as_onnx_runtime_has_it(backend: Import) -> None:
    options, plain = backend("ort_session").session_options({"name": "m"}), ort.SessionOptions()
    for name in ("intra_op_num_threads", "inter_op_num_threads", "execution_mode", "enable_cpu_mem_arena"):
        assert getattr(options, name) == getattr(plain, name), name


@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        ("-1", ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
        (1, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED),
        (2, ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
        (0, ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
        (7, ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
    ],
)
def test_the_optimization_level_is_that_of_the_graph_policy(backend: Import, level: Any, wanted: Any) -> None:
    options = backend("ort_session").session_options(configured({}, optimization={"graph": {"level": level}}))
    assert options.graph_optimization_level == wanted


def test_threads_do_not_spin_where_instances_share_cores(backend: Import) -> None:
    def spins(threads: int, instances: int) -> bool:
        config = configured({"intra_op_thread_count": str(threads)}, instance_group=[{"count": instances}])
        return entry(backend("ort_session").session_options(config), "session.intra_op.allow_spinning") != "0"

    assert not spins(threads=1024, instances=2)
    assert spins(threads=1, instances=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intra_op_thread_count", "99999999999"),
        ("intra_op_thread_count", "two"),
        ("inter_op_thread_count", "-1"),
        ("execution_mode", "2"),
        ("enable_mem_arena", "maybe"),
        ("enable_mem_pattern", ""),
        ("session.use_device_allocator_for_initializers", "2"),
    ],
)
def test_a_wrong_value_is_named(backend: Import, key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"parameter '{key}' is '{value}', allowed are"):
        backend("ort_session").session_options(configured({key: value}))


@pytest.mark.parametrize(
    ("value", "cuda", "arena", "wanted"),
    [
        ("cpu:0", False, "1", "cpu:0"),
        ("gpu:0;cpu:0", False, "1", "cpu:0"),
        ("gpu:0;cpu:0", True, "1", "gpu:0;cpu:0"),
        ("cpu:0;gpu:0", True, "0", "gpu:0"),
        ("cpu:0", False, "0", None),
    ],
)
def test_the_arenas_that_there_are_shrink_after_each_run(
    backend: Import, value: str, cuda: bool, arena: str, wanted: str | None
) -> None:
    config = configured({"memory.enable_memory_arena_shrinkage": value, "enable_mem_arena": arena})
    options = backend("ort_session").run_options(config, ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"])
    assert (entry(options, "memory.enable_memory_arena_shrinkage") or None) == wanted


@pytest.mark.parametrize(("providers", "wanted"), [([CUDA], "-1"), (["CPUExecutionProvider"], None)])
def test_runs_of_no_fixed_size_are_not_recorded(backend: Import, providers: list[str], wanted: str | None) -> None:
    config = configured({}, max_batch_size=2, optimization={"cuda": {"graphs": True}})
    options = backend("ort_session").run_options(config, providers)
    assert (options and entry(options, "gpu_graph_id")) == wanted


def test_arenas_to_shrink_are_named_as_devices(backend: Import) -> None:
    module = backend("ort_session")
    assert module.run_options({"name": "m"}, []) is None
    with pytest.raises(ValueError, match=r"memory.enable_memory_arena_shrinkage' is 'all', allowed .* 'cpu:0'"):
        module.run_options(configured({"memory.enable_memory_arena_shrinkage": "all"}), [])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model's folder: version 1 has a file, version 2 a folder with one."""
    for folder in ("1", "2/network"):
        (tmp_path / folder).mkdir(parents=True)
        graphs.write(graphs.AFFINE, tmp_path / folder / "model.onnx")
    return tmp_path


@pytest.mark.parametrize(("version", "name"), [("1", ""), ("1", "model.onnx"), ("2", "network")])
def test_a_folder_stands_for_the_file_in_it(backend: Import, repository: Path, version: str, name: str) -> None:
    args = {"model_repository": str(repository), "model_version": version, **CPU}
    opened = backend("ort_session").open_session(configured({}, default_model_filename=name), args)
    assert [tensor.name for tensor in opened.get_inputs()] == ["x"]


@pytest.mark.parametrize(("name", "wanted"), [("other.onnx", "2/other.onnx"), ("", "2/model.onnx")])
def test_a_missing_file_is_named(backend: Import, repository: Path, name: str, wanted: str) -> None:
    args = {"model_repository": str(repository), "model_version": "2", **CPU}
    with pytest.raises(ValueError, match=f"there is no file .*/{wanted}"):
        backend("ort_session").open_session(configured({}, default_model_filename=name), args)


def test_a_gpu_instance_without_cuda_warns_and_uses_the_cpu(backend: Import, repository: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    place = {"model_instance_kind": "GPU", "model_instance_device_id": "0"}
    args = {"model_repository": str(repository), "model_version": "1", **place}
    opened = backend("ort_session").open_session({"name": "affine"}, args)
    assert opened.get_providers() == ["CPUExecutionProvider"]
    (warning,) = sys.modules["triton_python_backend_utils"].warnings
    assert (
        "model 'affine' asks for CUDAExecutionProvider and runs on CPUExecutionProvider: this ONNX Runtime" in warning
    )


def test_a_gpu_instance_that_must_be_one_is_refused_without_cuda(backend: Import, repository: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    (repository / "config.pbtxt").write_text("instance_group { kind: KIND_GPU }")
    place = {"model_instance_kind": "GPU", "model_instance_device_id": "0"}
    args = {"model_repository": str(repository), "model_version": "1", **place}
    with pytest.raises(
        ValueError, match=r"has kind KIND_GPU, but CUDA.* only CPU.*: install onnxruntime-gpu .* KIND_AUTO"
    ):
        backend("ort_session").open_session({"name": "affine"}, args)


def test_a_library_of_operators_that_does_not_load_is_an_error(backend: Import) -> None:
    operations = {"op_library_filename": ["/nowhere/lib.so"]}
    with pytest.raises(Exception, match=r"/nowhere/lib\.so"):
        backend("ort_session").session_options(configured({}, model_operations=operations))
