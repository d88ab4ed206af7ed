"""Open the ONNX Runtime session that a Triton model configuration describes.

The `parameters` and `optimization` keys are those of NVIDIA's C++ backend, with the same meaning; unknown parameters
are ignored, as there. Part of the python-based backend: imported by `model.py` beside it, and by nothing else.

Source: triton-inference-server/onnxruntime_backend README, "Model Config Options".
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it once, when it is imported

import onnxruntime as ort
import triton_python_backend_utils as pb_utils

Config = dict[str, Any]
"""A model configuration as Triton hands it over: its protobuf's JSON, where 64-bit numbers may be strings."""

# An absurd count (the C++ backend dies of it, with the whole server) is a mistake; no machine has use for more.
MOST_THREADS = 1024

ORT_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}

GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

CUDA_PARAMETERS = {
    "cudnn_conv_algo_search": {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"},
    "arena_extend_strategy": {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"},
    "do_copy_in_default_stream": {},
    "gpu_mem_limit": {},
}
"""Parameter of the C++ backend -> its values as ONNX Runtime's Python interface spells them (empty: the same)."""


def open_session(config: Config, args: dict[str, str]) -> ort.InferenceSession:
    """The session of one model instance, on its GPU or on the CPU.

    Args:
        config: The model configuration.
        args: What Triton's Python backend passes to `initialize`.

    Raises:
        ValueError: A parameter has a value that is not allowed.
        Exception: What ONNX Runtime raises for a file it cannot load.
    """
    file = (
        Path(args["model_repository"]) / args["model_version"] / (config.get("default_model_filename") or "model.onnx")
    )
    if file.is_dir():
        file = file / "model.onnx"
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    providers: list[Any] = ["CPUExecutionProvider"]
    wants_gpu = args["model_instance_kind"] == "GPU"
    if wants_gpu and "CUDAExecutionProvider" in ort.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", cuda_options(parameters, args["model_instance_device_id"])))
    opened = ort.InferenceSession(str(file), session_options(config, parameters), providers=providers)
    if wants_gpu and opened.get_providers()[0] != "CUDAExecutionProvider":
        pb_utils.Logger.log_warn(
            f"model '{config['name']}' is placed on a GPU but runs on the CPU: this ONNX Runtime "
            f"({ort.__version__}) cannot use CUDA here; install onnxruntime-gpu instead of onnxruntime"
        )
    return opened


def session_options(config: Config, parameters: dict[str, str]) -> ort.SessionOptions:
    """ONNX Runtime's options from the `parameters` and `optimization` of a model configuration."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only; warnings at load are about the graph, not about serving it
    intra_op = number(parameters, "intra_op_thread_count", MOST_THREADS)
    inter_op = number(parameters, "inter_op_thread_count", MOST_THREADS)
    if intra_op > 0:
        options.intra_op_num_threads = intra_op
    if inter_op > 0:
        options.inter_op_num_threads = inter_op
    if number(parameters, "execution_mode", 1) == 1:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = switch(parameters, "enable_mem_arena")
    options.enable_mem_pattern = switch(parameters, "enable_mem_pattern")
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = GRAPH_LEVELS.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    check_accelerators(config)
    cores = len(os.sched_getaffinity(0))
    instances = sum(int(group.get("count", 1)) for group in config.get("instance_group", []))
    if instances * (intra_op or cores) > cores:
        # A thread that spins while it waits for work takes the core another instance needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def check_accelerators(config: Config) -> None:
    """Refuse execution accelerators that only the C++ backend has: left out silently, the model would just be slow."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for device, served in (("gpu", {"cuda"}), ("cpu", set())):
        for entry in accelerators.get(f"{device}_execution_accelerator", []):
            if entry["name"] not in served:
                raise ValueError(f"{device} execution accelerator '{entry['name']}' needs NVIDIA's C++ backend")


def cuda_options(parameters: dict[str, str], device: str) -> dict[str, str]:
    """Options of the CUDA execution provider. TF32 is off: answers are to agree with the CPU's to fp32 accuracy."""
    # EXHAUSTIVE, ONNX Runtime's default, measures every convolution again for each new batch size.
    options = {"device_id": device, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    for key, spellings in CUDA_PARAMETERS.items():
        if key in parameters:
            options[key] = spellings.get(parameters[key], parameters[key])
    return options


def check_config(config: Config, opened: ort.InferenceSession) -> None:
    """Compare the configured tensors with the graph's, so that no request has to be.

    Raises:
        ValueError: A tensor is unknown or missing, or its type or shape is not the graph's; the text names it.
    """
    graph_inputs = {tensor.name: tensor for tensor in opened.get_inputs()}
    graph_outputs = {tensor.name: tensor for tensor in opened.get_outputs()}
    batched = config["max_batch_size"] > 0
    for kind, entries, graph in (("input", config["input"], graph_inputs), ("output", config["output"], graph_outputs)):
        for entry in entries:
            if entry["name"] not in graph:
                raise ValueError(f"{kind} '{entry['name']}' is not in the graph, which has {sorted(graph)}")
            check_tensor(f"{kind} '{entry['name']}'", entry, graph[entry["name"]], batched)
    if missing := graph_inputs.keys() - {entry["name"] for entry in config["input"]}:
        raise ValueError(f"the graph needs the inputs {sorted(missing)}, which the configuration does not have")


def check_tensor(where: str, entry: Config, tensor: Any, batched: bool) -> None:
    """Compare one configured tensor with the graph's."""
    if ORT_TYPES.get(tensor.type) != entry["data_type"]:
        raise ValueError(
            f"{where} has type {entry['data_type']}, the graph's is {ORT_TYPES.get(tensor.type, tensor.type)}"
        )
    dims = [int(dim) for dim in entry.get("reshape", entry).get("shape" if "reshape" in entry else "dims", [])]
    shape = [dim if isinstance(dim, int) else -1 for dim in tensor.shape]
    if batched and shape[:1] != [-1]:
        raise ValueError(f"{where}: max_batch_size above 0 needs a dynamic first axis, the graph's shape is {shape}")
    if not batched and not shape and dims == [1]:
        return  # Triton has no empty shape: a scalar is [1]
    configured = [-1, *dims] if batched else dims
    if len(configured) != len(shape) or any(
        -1 not in pair and pair[0] != pair[1] for pair in zip(configured, shape, strict=True)
    ):
        raise ValueError(f"{where} has shape {configured} (with the batch axis), the graph's is {shape}")


def number(parameters: dict[str, str], key: str, most: int) -> int:
    """A parameter as a number between 0 and `most`; 0 where it is not set."""
    text = parameters.get(key, "0")
    if not text.isdecimal() or int(text) > most:
        raise ValueError(f"parameter '{key}' is '{text}', allowed are 0 to {most}")
    return int(text)


def switch(parameters: dict[str, str], key: str) -> bool:
    """A parameter as on or off; on where it is not set."""
    text = parameters.get(key, "true").lower()
    if text not in {"1", "true", "on", "0", "false", "off"}:
        raise ValueError(f"parameter '{key}' is '{text}', allowed are true, on, 1, false, off, 0")
    return text in {"1", "true", "on"}
