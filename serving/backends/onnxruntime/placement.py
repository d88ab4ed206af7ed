"""Where a model instance runs: what its configuration asks for, what it got, and whether that will do.

Triton's core resolves `KIND_AUTO` before a backend sees it, so that what was asked for is read from config.pbtxt.

Source: triton-inference-server/core src/model_config_utils.cc, NormalizeInstanceGroup.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from config_values import Config
from cuda_graphs import graph_sizes
from execution_providers import accelerators

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def stated_kinds(model_folder: Path) -> set[str]:
    """The kinds that config.pbtxt gives its instance groups: KIND_GPU, KIND_CPU, ...; empty where it gives none."""
    file = model_folder / "config.pbtxt"
    text = re.sub(r"#.*", "", file.read_text(encoding="utf-8")) if file.is_file() else ""
    numbers = {"0": "KIND_AUTO", "1": "KIND_GPU", "2": "KIND_CPU", "3": "KIND_MODEL"}
    return {numbers.get(kind, kind) for kind in re.findall(r"\bkind\s*:\s*(\w+)", text)}


def asked_provider(config: Config, kind: str, stated: set[str]) -> str:
    """The execution provider that a model instance should run on first.

    Args:
        config: The model configuration.
        kind: `GPU` or `CPU`, where Triton placed the instance.
        stated: What `stated_kinds` found. On a CPU, an accelerator for GPUs or CUDA graphs mean that one was hoped for,
            unless the configuration has CPU instances of its own will.
    """
    if kind == "GPU" or "KIND_CPU" not in stated:
        if "tensorrt" in dict(accelerators(config, "gpu")):
            return TENSORRT
        if kind == "GPU" or graph_sizes(config):
            return CUDA
    return CPU


def check_placement(config: Config, kind: str, stated: set[str], providers: Sequence[str]) -> str:
    """What to log of an instance that does not run on what was asked for; "" where it does.

    Args:
        config: The model configuration.
        kind: `GPU` or `CPU`, where Triton placed the instance.
        stated: What `stated_kinds` found.
        providers: What the session really has.

    Raises:
        ValueError: It has to be on a GPU, by `kind: KIND_GPU`, and is not.
    """
    asked = asked_provider(config, kind, stated)
    if asked in providers or asked == CPU:
        return ""
    if CUDA not in providers and kind == "GPU" and "KIND_GPU" in stated:
        raise ValueError(
            f"an instance group has kind KIND_GPU, but {CUDA} cannot be used here, only {', '.join(providers)}: "
            "install onnxruntime-gpu instead of onnxruntime, with the CUDA and cuDNN it is built for, or say KIND_AUTO "
            "to allow the CPU"
        )
    where = "there is no GPU for it" if kind != "GPU" else "this ONNX Runtime or its libraries do not have it"
    return f"asks for {asked} and runs on {providers[0]}: {where}"
