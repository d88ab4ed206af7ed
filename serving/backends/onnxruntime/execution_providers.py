"""Which execution providers a model instance runs on, with their options.

A function of the configuration and of what this ONNX Runtime has: it can be tested without a GPU.

Source: triton-inference-server/onnxruntime_backend src/onnxruntime.cc, ModelState::LoadModel.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from config_values import Config, model_parameters
from cuda_graphs import graph_sizes
from parameters import (
    ACCELERATORS,
    CUDA_OPTIONS,
    CUDA_PARAMETERS,
    RECORDING,
    SPELLINGS,
    TENSORRT_OPTIONS,
    TENSORRT_RENAMED,
    read,
)

Provider = tuple[str, dict[str, str]]
"""An execution provider of ONNX Runtime and its options."""


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
    top_level = model_parameters(config)
    cuda |= cuda_options({key: top_level[key] for key in CUDA_PARAMETERS if key in top_level})
    if kind == "GPU" and ACCELERATORS["gpu"]["cuda"] in available:
        providers.append((ACCELERATORS["gpu"]["cuda"], cuda))
    for name, _ in accelerators(config, "cpu"):
        providers.append((_provider("cpu", name, available), {"device_type": "CPU"}))
    return [*providers, ("CPUExecutionProvider", {})]


def cuda_options(given: Mapping[str, str]) -> dict[str, str]:
    """The options of the CUDA provider that `given` sets; others than `CUDA_OPTIONS` are ONNX Runtime's to check."""
    _refuse_recording("cuda", given)
    return {key: read(CUDA_OPTIONS, key, value) if key in CUDA_OPTIONS else value for key, value in given.items()}


def tensorrt_options(given: Mapping[str, str]) -> dict[str, str]:
    """The options of the TensorRT provider for the parameters of the `tensorrt` accelerator."""
    options: dict[str, str] = {}
    _refuse_recording("tensorrt", given)
    for key, value in given.items():
        if key not in TENSORRT_OPTIONS:
            known = sorted(TENSORRT_OPTIONS)
            raise ValueError(f"gpu execution accelerator 'tensorrt' has no parameter '{key}', it has {known}")
        option = read(TENSORRT_OPTIONS, key, value)
        if key != "precision_mode":
            options[TENSORRT_RENAMED.get(key, key)] = option
        elif option:
            options[option] = "True"
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


def _refuse_recording(name: str, given: Mapping[str, str]) -> None:
    """A recorded graph reads the memory of the run it was recorded in, and other runs have theirs elsewhere."""
    if SPELLINGS.get(given.get(RECORDING[name], "").lower()):
        raise ValueError(
            f"gpu execution accelerator '{name}' has {RECORDING[name]}, with which runs answer wrongly whose tensors "
            "lie elsewhere: use optimization { cuda { graphs: true } } for CUDA graphs in buffers of their own"
        )


def _provider(device: str, name: str, available: Collection[str]) -> str:
    provider = ACCELERATORS[device][name]
    if provider not in available:
        raise ValueError(
            f"{device} execution accelerator '{name}' needs {provider}, this ONNX Runtime has {', '.join(available)}: "
            "install a build that has it, or take the accelerator out of the configuration"
        )
    return provider
