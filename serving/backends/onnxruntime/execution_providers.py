"""Which execution providers a model instance runs on, with their options.

A function of the configuration and of what this ONNX Runtime has: it can be tested without a GPU.

Source: triton-inference-server/onnxruntime_backend src/onnxruntime.cc, ModelState::LoadModel.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from config_values import SWITCHES, Config, choice, number, parameters, switch
from cuda_graphs import graph_sizes

Provider = tuple[str, dict[str, str]]
"""An execution provider of ONNX Runtime and its options."""

ACCELERATORS = {
    "gpu": {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"},
    "cpu": {"openvino": "OpenVINOExecutionProvider"},
}

CONV_ALGORITHM_SEARCHES = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
ARENA_STRATEGIES = ("kNextPowerOfTwo", "kSameAsRequested")
MOST_BYTES = 2**64 - 1

# Parameters of the tensorrt accelerator that are switches, numbers and texts of the same name in ONNX Runtime.
TENSORRT_SWITCHES = {
    "trt_build_heuristics_enable",
    "trt_context_memory_sharing_enable",
    "trt_cuda_graph_enable",
    "trt_detailed_build_log",
    "trt_dla_enable",
    "trt_dump_ep_context_model",
    "trt_dump_subgraphs",
    "trt_engine_cache_enable",
    "trt_force_sequential_engine_build",
    "trt_force_timing_cache",
    "trt_layer_norm_fp32_fallback",
    "trt_sparsity_enable",
    "trt_timing_cache_enable",
}
TENSORRT_NUMBERS = {
    "trt_auxiliary_streams",
    "trt_builder_optimization_level",
    "trt_dla_core",
    "trt_ep_context_embed_mode",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
}
TENSORRT_TEXTS = {
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_ep_context_file_path",
    "trt_extra_plugin_lib_paths",
    "trt_profile_max_shapes",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_tactic_sources",
    "trt_timing_cache_path",
}
TENSORRT_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
TENSORRT_PRECISIONS = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "True"},
    "BF16": {"trt_bf16_enable": "True"},
    "INT8": {"trt_int8_enable": "True"},
}


def execution_providers(
    config: Config, available: Collection[str], kind: str, device: str, version_folder: Path
) -> list[Provider]:
    """The execution providers of a model instance, the preferred first.

    Args:
        config: The model configuration.
        available: What this ONNX Runtime has, `onnxruntime.get_available_providers()`.
        kind: `GPU` or `CPU`, where Triton placed the instance. GPU accelerators count on a GPU only.
        device: The number of the instance's GPU.
        version_folder: Where TensorRT keeps the engines it has built, where they are to be kept and no path is given.

    TensorRT is left out where this ONNX Runtime does not have it: CUDA, next in the list, runs the same graph. That the
    session has not what was asked for is for `placement.check_placement` to say.

    Raises:
        ValueError: An accelerator that there is not, or a parameter with a value that is not allowed.
    """
    providers: list[Provider] = []
    # No user_compute_stream: an instance is a process of its own with one session, whose CUDA provider makes itself a
    # stream that does not wait for others. Nothing else in the process has work to put on it.
    cuda = {"device_id": device, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    for name, given in accelerators(config, "gpu"):
        if name == "cuda":
            cuda |= cuda_options(given)
            continue
        options = {"device_id": device} | tensorrt_options(given)
        if options.get("trt_engine_cache_enable") == "True":
            options.setdefault("trt_engine_cache_path", str(version_folder))
        if kind == "GPU" and ACCELERATORS["gpu"]["tensorrt"] in available:
            providers.append((ACCELERATORS["gpu"]["tensorrt"], options))
    if graph_sizes(config):
        if "tensorrt" in dict(accelerators(config, "gpu")):
            raise ValueError("optimization.cuda.graphs and the tensorrt accelerator exclude each other: take one out")
        cuda["enable_cuda_graph"] = "1"
    # Set in both places, the model's parameters count, as in the C++ backend; its defaults do not, as there.
    top_level = parameters(config)
    cuda |= cuda_options({key: top_level[key] for key in CUDA_PARAMETERS if key in top_level})
    if kind == "GPU" and ACCELERATORS["gpu"]["cuda"] in available:
        providers.append((ACCELERATORS["gpu"]["cuda"], cuda))
    for name, _ in accelerators(config, "cpu"):
        providers.append((_provider("cpu", name, available), {"device_type": "CPU"}))
    return [*providers, ("CPUExecutionProvider", {})]


CUDA_PARAMETERS = ("cudnn_conv_algo_search", "arena_extend_strategy", "do_copy_in_default_stream", "gpu_mem_limit")
"""What the C++ backend reads of the CUDA provider's options from a model's `parameters`."""


def cuda_options(given: Mapping[str, str]) -> dict[str, str]:
    """The options of the CUDA provider that `given` sets; others than `CUDA_PARAMETERS` are ONNX Runtime's to check."""
    options = dict(given)
    _refuse_graphs("cuda", "enable_cuda_graph", given)
    for key, spellings in (
        ("cudnn_conv_algo_search", CONV_ALGORITHM_SEARCHES),
        ("arena_extend_strategy", ARENA_STRATEGIES),
    ):
        if key in given:
            numbers = {str(index): spelling for index, spelling in enumerate(spellings)}
            options[key] = choice(given, key, numbers | {spelling: spelling for spelling in spellings})
    for key in ("do_copy_in_default_stream", "use_ep_level_unified_stream"):
        if key in given:
            options[key] = str(int(switch(given, key)))
    if "gpu_mem_limit" in given:
        number(given, "gpu_mem_limit", MOST_BYTES)
    return options


def tensorrt_options(given: Mapping[str, str]) -> dict[str, str]:
    """The options of the TensorRT provider for the parameters of the `tensorrt` accelerator."""
    options: dict[str, str] = {}
    _refuse_graphs("tensorrt", "trt_cuda_graph_enable", given)
    known = TENSORRT_SWITCHES | TENSORRT_NUMBERS | TENSORRT_TEXTS | TENSORRT_RENAMED.keys() | {"precision_mode"}
    for key, value in given.items():
        option = TENSORRT_RENAMED.get(key, key)
        if key == "precision_mode":
            options |= choice(given, key, TENSORRT_PRECISIONS)
        elif key in TENSORRT_SWITCHES or key == "int8_use_native_calibration_table":
            options[option] = str(choice(given, key, SWITCHES))  # ONNX Runtime reads True and False
        elif key in TENSORRT_NUMBERS or key == "max_workspace_size_bytes":
            number(given, key, MOST_BYTES)
            options[option] = value
        elif key in known:
            options[option] = value
        else:
            raise ValueError(f"gpu execution accelerator 'tensorrt' has no parameter '{key}', it has {sorted(known)}")
    return options


def accelerators(config: Config, device: str) -> list[tuple[str, dict[str, str]]]:
    """The accelerators that a configuration names for `device`, `gpu` or `cpu`, each with its parameters."""
    found = []
    listed = config.get("optimization", {}).get("execution_accelerators", {})
    for entry in listed.get(f"{device}_execution_accelerator", []):
        if entry["name"] not in ACCELERATORS[device]:
            allowed = ", ".join(ACCELERATORS[device])
            raise ValueError(f"there is no {device} execution accelerator '{entry['name']}', allowed are {allowed}")
        found.append((entry["name"], dict(entry.get("parameters", {}))))
    return found


def _refuse_graphs(name: str, key: str, given: Mapping[str, str]) -> None:
    """A recorded graph reads the memory of the run it was recorded in, and other runs have theirs elsewhere."""
    if switch(given, key, default=False):
        raise ValueError(
            f"gpu execution accelerator '{name}' has {key}, with which runs answer wrongly whose tensors lie "
            "elsewhere: use optimization { cuda { graphs: true } } for CUDA graphs in buffers of their own"
        )


def _provider(device: str, name: str, available: Collection[str]) -> str:
    provider = ACCELERATORS[device][name]
    if provider not in available:
        raise ValueError(
            f"{device} execution accelerator '{name}' needs {provider}, this ONNX Runtime has {', '.join(available)}: "
            "install a build that has it, or take the accelerator out of the configuration"
        )
    return provider
