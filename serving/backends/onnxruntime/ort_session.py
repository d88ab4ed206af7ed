"""Open the ONNX Runtime session that a Triton model configuration describes.

The `parameters` and `optimization` keys are those of NVIDIA's C++ backend, with the same meaning; unknown parameters
are ignored, as there. Part of the python-based backend: it imports nothing of Conch but the files beside it.

Source: triton-inference-server/onnxruntime_backend README, "Model Config Options", and src/onnxruntime.cc.
"""

import os
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it once, when it is imported

import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from config_values import Config, model_parameters
from cuda_graphs import GRAPH_ID, NO_GRAPH, graph_sizes
from execution_providers import execution_providers
from graph_tensors import optimization_level
from parameters import DEVICE_ALLOCATORS, SHRINKAGE, given_or
from placement import CUDA, check_placement, stated_kinds


def model_file(config: Config, version_folder: Path) -> Path:
    """The ONNX file of a model version: `default_model_filename`, where a folder stands for the model.onnx in it.

    Raises:
        ValueError: There is no such file.
    """
    file = version_folder / (config.get("default_model_filename") or "model.onnx")
    if file.is_dir():
        file = file / "model.onnx"
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    return file


def open_session(config: Config, args: dict[str, str]) -> ort.InferenceSession:
    """The session of one model instance, on its GPU or on the CPU.

    Args:
        config: The model configuration.
        args: What Triton's Python backend passes to `initialize`.

    Raises:
        ValueError: A parameter or accelerator that is not allowed, or an instance that has to be on a GPU and is not.
        Exception: What ONNX Runtime raises for a file it cannot load.
    """
    model_folder = Path(args["model_repository"])
    version_folder = model_folder / args["model_version"]
    file = model_file(config, version_folder)
    kind, device = args["model_instance_kind"], args["model_instance_device_id"]
    if kind == "GPU":
        # CUDA and cuDNN from pip's packages, which the loader does not find by itself; those of PyTorch are the same.
        ort.preload_dlls()
    providers = execution_providers(config, ort.get_available_providers(), kind, device, version_folder)
    # Without enable_fallback=0 a provider that refuses its options would be left out, with a line on stdout. One whose
    # libraries are missing is left out nevertheless, so that the session is asked what it has.
    opened = ort.InferenceSession(
        str(file), session_options(config, version_folder), providers=providers, enable_fallback=0
    )
    if fallen_back := check_placement(config, kind, stated_kinds(model_folder), opened.get_providers()):
        pb_utils.Logger.log_warn(f"model '{config['name']}' {fallen_back} (ONNX Runtime {ort.__version__})")
    return opened


def session_options(config: Config, version_folder: Path | None = None) -> ort.SessionOptions:
    """ONNX Runtime's options from the `parameters`, `optimization` and `model_operations` of a model configuration.

    A library of operators that is named without a folder is the one in the version's, where there is one.
    """
    given = model_parameters(config)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only; warnings at load are about the graph, not about serving it
    intra_op = int(given_or("0", given, "intra_op_thread_count"))
    inter_op = int(given_or("0", given, "inter_op_thread_count"))
    if intra_op > 0:
        options.intra_op_num_threads = intra_op
    if inter_op > 0:
        options.inter_op_num_threads = inter_op
    if int(given_or("0", given, "execution_mode")) == 1:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = given_or("1", given, "enable_mem_arena") == "1"
    options.enable_mem_pattern = given_or("1", given, "enable_mem_pattern") == "1"
    if DEVICE_ALLOCATORS in given:
        options.add_session_config_entry(DEVICE_ALLOCATORS, given_or("0", given, DEVICE_ALLOCATORS))
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = optimization_level(level)
    for library in config.get("model_operations", {}).get("op_library_filename", []):
        beside = version_folder / library if version_folder else Path(library)
        options.register_custom_ops_library(str(beside) if beside.is_file() else library)
    cores = len(os.sched_getaffinity(0))
    instances = sum(int(group.get("count", 1)) for group in config.get("instance_group", []))
    if instances * (intra_op or cores) > cores:
        # A thread that spins while it waits for work takes the core another instance needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def run_options(config: Config, providers: list[str]) -> ort.RunOptions | None:
    """ONNX Runtime's options of each run, or None without any: arenas that are shrunk after it, no recording.

    With CUDA graphs these are the runs of no fixed size; those of one have options of their own, and keep their memory.

    Args:
        config: The model configuration.
        providers: What the session runs on. A GPU's arena counts only where there is one.
    """
    given = model_parameters(config)
    recorded = CUDA in providers and bool(graph_sizes(config))
    if SHRINKAGE not in given and not recorded:
        return None
    options = ort.RunOptions()
    if recorded:
        options.add_run_config_entry(GRAPH_ID, NO_GRAPH)
    if arenas := _shrunk_arenas(given, providers):
        options.add_run_config_entry(SHRINKAGE, ";".join(arenas))
    return options


def _shrunk_arenas(given: dict[str, str], providers: list[str]) -> list[str]:
    """The arenas that give memory back after each run, of those that there are."""
    if SHRINKAGE not in given:
        return []
    devices = given_or("", given, SHRINKAGE).split(";")
    arenas = [device for device in devices if CUDA in providers or device.startswith("cpu")]
    if given_or("1", given, "enable_mem_arena") == "0":
        arenas = [device for device in arenas if not device.startswith("cpu")]
    return arenas
