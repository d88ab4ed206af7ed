"""Rules about the `parameters` and `optimization` that NVIDIA's ONNX Runtime backend reads (its README and source)."""

from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder

THREADS = ("intra_op_thread_count", "inter_op_thread_count")
# More is a mistake: of an absurd number NVIDIA's backend dies, with the whole server.
MOST_THREADS = 1024
SWITCHES = (
    "enable_mem_arena", "enable_mem_pattern", "do_copy_in_default_stream",
    "session.use_device_allocator_for_initializers",
)  # fmt: skip
SWITCH_VALUES = ("true", "on", "1", "false", "off", "0")
CHOICES = {
    "execution_mode": ("0", "1"),
    "cudnn_conv_algo_search": ("0", "1", "2"),
    "arena_extend_strategy": ("0", "1"),
} | dict.fromkeys(SWITCHES, SWITCH_VALUES)
OTHERS = (
    "FORCE_CPU_ONLY_INPUT_TENSORS", "gpu_mem_limit", "memory.enable_memory_arena_shrinkage",
    "share_session_between_instances",
)  # fmt: skip
OVERWRITTEN = ("cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream")
"""Keys that released backends reset after they have read them from the `cuda` accelerator (server issue 8808)."""
# The accelerator takes ONNX Runtime's names, the parameters their numbers.
NUMBERS = {
    "EXHAUSTIVE": "0", "HEURISTIC": "1", "DEFAULT": "2", "kNextPowerOfTwo": "0", "kSameAsRequested": "1",
}  # fmt: skip
ACCELERATORS = {"gpu": ("cuda", "tensorrt"), "cpu": ("openvino",)}


@rule("parameter-value", "error")
def parameter_value(model: ModelFolder) -> Iterator[Found]:
    """A parameter has a value that the backend refuses, or dies of."""
    if not model.is_onnx:
        return
    for key in sorted(model.config.parameters):
        value = model.config.parameters[key].string_value
        if key in THREADS and not (value.isascii() and value.isdecimal() and int(value) <= MOST_THREADS):
            yield Found(f"parameters {key!r}", repr(value), f"a number from 0 to {MOST_THREADS}", "correct it")
        elif key in CHOICES and value.lower() not in CHOICES[key]:
            yield Found(f"parameters {key!r}", repr(value), f"one of {', '.join(CHOICES[key])}", "correct it")


@rule("unknown-parameter", "note")
def unknown_parameter(model: ModelFolder) -> Iterator[Found]:
    """A parameter that the backend does not know, and ignores without a word."""
    if not model.is_onnx:
        return
    known = (*THREADS, *CHOICES, *OTHERS)
    for key in sorted(model.config.parameters):
        if key not in known:
            yield Found(
                f"parameters {key!r}", "ignored by the backend", f"one of {', '.join(known)}", "remove or correct it"
            )


@rule("cuda-option-overwritten", "warning")
def cuda_option_overwritten(model: ModelFolder) -> Iterator[Found]:
    """An option of the `cuda` accelerator that released backends overwrite with its default."""

    def move(config: ModelConfig) -> dict[str, bytes]:
        for entry in config.optimization.execution_accelerators.gpu_execution_accelerator:
            for key in OVERWRITTEN:
                if entry.name == "cuda" and key in entry.parameters:
                    if key not in config.parameters:
                        value = entry.parameters[key]
                        config.parameters[key].string_value = NUMBERS.get(value, value)
                    del entry.parameters[key]
        return {}

    for entry in model.config.optimization.execution_accelerators.gpu_execution_accelerator:
        for key in OVERWRITTEN:
            if entry.name == "cuda" and key in entry.parameters:
                yield Found(
                    f"gpu_execution_accelerator 'cuda'.{key}",
                    f"{entry.parameters[key]!r}, which the backend overwrites with its default (server issue 8808)",
                    "the same among the model's own parameters",
                    change=move,
                )


@rule("unknown-accelerator", "error")
def unknown_accelerator(model: ModelFolder) -> Iterator[Found]:
    """An execution accelerator that the backend does not have: the model does not load."""
    if not model.is_onnx:
        return
    accelerators = model.config.optimization.execution_accelerators
    for device, entries in (
        ("gpu", accelerators.gpu_execution_accelerator),
        ("cpu", accelerators.cpu_execution_accelerator),
    ):
        for entry in entries:
            if entry.name not in ACCELERATORS[device]:
                yield Found(
                    f"{device}_execution_accelerator",
                    repr(entry.name),
                    f"one of {', '.join(ACCELERATORS[device])}",
                    "correct or remove it",
                )
