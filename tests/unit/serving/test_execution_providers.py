"""The accelerators of a configuration become ONNX Runtime's execution providers, on a GPU that need not be there."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.conftest import Import

CPU, CUDA, TENSORRT, OPENVINO = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt", "OpenVINO"))
EVERY = [TENSORRT, CUDA, OPENVINO, CPU]
VERSION = Path("models/mine/3")
OURS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def accelerated(parameters: dict[str, str] | None = None, **accelerators: list[Any]) -> dict[str, Any]:
    """A configuration with accelerators (`gpu` and `cpu`) and top-level parameters, as Triton passes it on."""
    listed = {f"{device}_execution_accelerator": entries for device, entries in accelerators.items()}
    return {
        "optimization": {"execution_accelerators": listed},
        "parameters": {key: {"string_value": value} for key, value in (parameters or {}).items()},
    }


def cuda(**parameters: str) -> dict[str, Any]:
    return {"name": "cuda", "parameters": parameters}


def graphs(config: dict[str, Any], *sizes: int, most: int = 8) -> dict[str, Any]:
    """`config` with CUDA graphs for batches of these sizes."""
    cuda = {"graphs": True, "graph_spec": [{"batch_size": size} for size in sizes]}
    return config | {"max_batch_size": most, "optimization": config.get("optimization", {}) | {"cuda": cuda}}


def tensorrt(**parameters: str) -> dict[str, Any]:
    return {"name": "tensorrt", "parameters": parameters}


@pytest.mark.parametrize(
    ("config", "kind", "available", "wanted"),
    [
        ({}, "CPU", EVERY, [(CPU, {})]),
        ({}, "GPU", [CPU], [(CPU, {})]),
        ({}, "GPU", EVERY, [(CUDA, {"device_id": "1", **OURS}), (CPU, {})]),
        (
            accelerated(gpu=[{"name": "tensorrt"}]),
            "GPU",
            EVERY,
            [(TENSORRT, {"device_id": "1"}), (CUDA, {"device_id": "1", **OURS}), (CPU, {})],
        ),
        (accelerated(gpu=[tensorrt(), cuda()]), "CPU", [CPU], [(CPU, {})]),
        (accelerated(gpu=[tensorrt()]), "GPU", [CUDA, CPU], [(CUDA, {"device_id": "1", **OURS}), (CPU, {})]),
        (graphs({}, 1), "GPU", [CUDA, CPU], [(CUDA, {"device_id": "1", **OURS, "enable_cuda_graph": "1"}), (CPU, {})]),
        (graphs({}, 1), "CPU", EVERY, [(CPU, {})]),
        (accelerated(cpu=[{"name": "openvino"}]), "CPU", EVERY, [(OPENVINO, {"device_type": "CPU"}), (CPU, {})]),
    ],
)
def test_the_preferred_provider_is_first_and_on_the_instances_device(
    backend: Import, config: dict[str, Any], kind: str, available: list[str], wanted: list[Any]
) -> None:
    assert backend("execution_providers").execution_providers(config, available, kind, "1", VERSION) == wanted


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (
            accelerated({"cudnn_conv_algo_search": "2", "gpu_mem_limit": "1024", "arena_extend_strategy": "1"}),
            {"cudnn_conv_algo_search": "DEFAULT", "gpu_mem_limit": "1024", "arena_extend_strategy": "kSameAsRequested"},
        ),
        (accelerated({"do_copy_in_default_stream": "off"}), {"do_copy_in_default_stream": "0"}),
        (accelerated({"unknown": "1"}), {}),
        # Set under the accelerator, where released C++ backends overwrite them with their defaults.
        (accelerated({"unknown": "1"}, gpu=[cuda(gpu_mem_limit="2048")]), {"gpu_mem_limit": "2048"}),
        (accelerated(gpu=[cuda(cudnn_conv_algo_search="EXHAUSTIVE")]), {"cudnn_conv_algo_search": "EXHAUSTIVE"}),
        (accelerated(gpu=[cuda(cudnn_conv_algo_search="2")]), {"cudnn_conv_algo_search": "DEFAULT"}),
        (accelerated(gpu=[cuda(use_tf32="1", cudnn_conv1d_pad_to_nc1d="1")]), {"use_tf32": "1"}),
        # In both places: the model's parameters count.
        (accelerated({"gpu_mem_limit": "1"}, gpu=[cuda(gpu_mem_limit="2")]), {"gpu_mem_limit": "1"}),
    ],
)
def test_cuda_takes_its_options_from_both_places(
    backend: Import, config: dict[str, Any], wanted: dict[str, str]
) -> None:
    name, options = backend("execution_providers").execution_providers(config, EVERY, "GPU", "0", VERSION)[0]
    assert name == CUDA
    assert options.items() >= wanted.items()
    assert options["device_id"] == "0"


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"precision_mode": "FP16"}, {"trt_fp16_enable": "True"}),
        ({"precision_mode": "INT8"}, {"trt_int8_enable": "True"}),
        ({"precision_mode": "FP32"}, {}),
        ({"max_workspace_size_bytes": "1073741824"}, {"trt_max_workspace_size": "1073741824"}),
        (
            {"trt_engine_cache_enable": "true", "trt_engine_cache_path": "/cache"},
            {"trt_engine_cache_enable": "True", "trt_engine_cache_path": "/cache"},
        ),
        (
            {"trt_engine_cache_enable": "1"},
            {"trt_engine_cache_enable": "True", "trt_engine_cache_path": "models/mine/3"},
        ),
        ({"trt_engine_cache_enable": "0"}, {"trt_engine_cache_enable": "False"}),
        (
            {"int8_calibration_table_name": "table", "int8_use_native_calibration_table": "0"},
            {"trt_int8_calibration_table_name": "table", "trt_int8_use_native_calibration_table": "False"},
        ),
        ({"trt_builder_optimization_level": "3"}, {"trt_builder_optimization_level": "3"}),
    ],
)
def test_tensorrts_parameters_are_the_providers_options(
    backend: Import, parameters: dict[str, str], wanted: dict[str, str]
) -> None:
    config = accelerated(gpu=[tensorrt(**parameters)])
    first = backend("execution_providers").execution_providers(config, EVERY, "GPU", "0", VERSION)[0]
    assert first == (TENSORRT, {"device_id": "0"} | wanted)


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        (accelerated(gpu=[{"name": "auto_io"}]), "CPU", "no gpu execution accelerator 'auto_io', allowed are tensorrt"),
        (accelerated(cpu=[{"name": "cuda"}]), "CPU", "no cpu execution accelerator 'cuda', allowed are openvino"),
        (
            accelerated(cpu=[{"name": "openvino"}]),
            "CPU",
            "'openvino' needs OpenVINOExecutionProvider, .* has CUDA.*CPU",
        ),
        (accelerated(gpu=[cuda(enable_cuda_graph="1")]), "CPU", "'cuda' has enable_cuda_graph, .* use optimization"),
        (accelerated(gpu=[tensorrt(trt_cuda_graph_enable="true")]), "CPU", "'tensorrt' has trt_cuda_graph_enable"),
        (graphs(accelerated(gpu=[tensorrt()])), "CPU", "graphs and the tensorrt accelerator exclude each other"),
        (graphs({}, 9), "CPU", "graph_spec has batch_size 9, allowed are 1 to 8"),
        (graphs({}, 0), "CPU", "graph_spec has batch_size 0, allowed are 1 to 8"),
        (graphs({}, most=0), "CPU", "graphs needs batches, and max_batch_size is 0"),
        (accelerated(gpu=[tensorrt(fast="1")]), "CPU", r"'tensorrt' has no parameter 'fast', it has \['int8_cal"),
        (accelerated(gpu=[tensorrt(precision_mode="FP8")]), "CPU", "'precision_mode' is 'FP8', allowed are FP32, FP16"),
        (accelerated(gpu=[tensorrt(trt_dla_core="a")]), "CPU", "'trt_dla_core' is 'a', allowed are 0 to"),
        (accelerated({"cudnn_conv_algo_search": "3"}), "CPU", "'cudnn_conv_algo_search' is '3', allowed are 0, 1, 2"),
        (accelerated({"arena_extend_strategy": "x"}), "CPU", "'arena_extend_strategy' is 'x', allowed are 0, 1, kNext"),
        (accelerated({"gpu_mem_limit": "1GB"}), "CPU", "'gpu_mem_limit' is '1GB', allowed are 0 to"),
        (accelerated({"do_copy_in_default_stream": "2"}), "CPU", "'do_copy_in_default_stream' is '2', allowed are 1,"),
    ],
)
def test_what_there_is_not_is_refused_on_every_machine(
    backend: Import, config: dict[str, Any], kind: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        backend("execution_providers").execution_providers(config, [CUDA, CPU], kind, "0", VERSION)
