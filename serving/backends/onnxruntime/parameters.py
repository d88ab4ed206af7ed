"""The parameters of the `onnxruntime` backends: their names, what each may be, what each decides.

Read by this backend and, as `serving.backends.onnxruntime.parameters`, by `serving lint`: so it imports no file beside
it. Lint speaks for NVIDIA's backend as well, which takes fewer spellings of some values.

Source: triton-inference-server/onnxruntime_backend README, "Model Config Options", and src/onnxruntime.cc,
ModelState::LoadModel.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# An absurd count (the C++ backend dies of it, with the whole server) is a mistake; no machine has use for more.
MOST_THREADS = 1024
MOST_BYTES = 2**64 - 1


@dataclass(frozen=True)
class Parameter:
    """One parameter: a choice where it has `choices`, a whole number where it has a `most`, else a text."""

    decides: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    """Each spelling -> what ONNX Runtime is told."""
    only_here: tuple[str, ...] = ()
    """Of the choices, those that NVIDIA's backend does not take."""
    most: int | None = None
    pattern: str = ""
    """What a text has to match; any where it is empty."""
    described: str = ""
    """What such a text is, for a message."""
    any_case: bool = True
    """Whether NVIDIA's backend takes a choice in lower and upper case, as this one does."""

    @property
    def everywhere(self) -> list[str]:
        """The choices that both backends take."""
        return [spelling for spelling in self.choices if spelling not in self.only_here]

    @property
    def allowed(self) -> str:
        """What this backend takes, for a message."""
        return self._told(list(self.choices))

    @property
    def allowed_everywhere(self) -> str:
        """What both backends take, for a message."""
        return self._told(self.everywhere)

    def option(self, value: str) -> str | None:
        """What ONNX Runtime is told for `value`; None where it is not allowed."""
        if self.choices:
            return {spelling.lower(): meaning for spelling, meaning in self.choices.items()}.get(value.lower())
        if self.most is not None:
            return value if value.isascii() and value.isdecimal() and int(value) <= self.most else None
        return value if not self.pattern or re.fullmatch(self.pattern, value) else None

    def taken_everywhere(self, value: str) -> bool:
        """Whether both backends take `value`."""
        if not self.choices:
            return self.option(value) is not None
        return (value.lower() if self.any_case else value) in self.everywhere

    def _told(self, choices: list[str]) -> str:
        return ", ".join(choices) if choices else f"0 to {self.most}" if self.most is not None else self.described


def read(table: Mapping[str, Parameter], key: str, value: str) -> str:
    """What ONNX Runtime is told for the parameter `key` of `table`.

    Raises:
        ValueError: The value is not allowed; the text has the key, the value and what is.
    """
    option = table[key].option(value)
    if option is None:
        raise ValueError(f"parameter '{key}' is '{value}', allowed are {table[key].allowed}")
    return option


def given_or(default: str, given: Mapping[str, str], key: str) -> str:
    """The same for one of `PARAMETERS` that may be in `given`; `default` where it is not."""
    return read(PARAMETERS, key, given[key]) if key in given else default


SPELLINGS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
"""Of a switch."""
# In ONNX Runtime's own spelling: of sessions and of the CUDA provider 1 and 0, of the TensorRT provider True and False.
ONE_OR_ZERO = {spelling: str(int(on)) for spelling, on in SPELLINGS.items()}
TRUE_OR_FALSE = {spelling: str(on) for spelling, on in SPELLINGS.items()}


def _numbered(*names: str) -> Mapping[str, str]:
    """Choices by their number, and by ONNX Runtime's name, which NVIDIA's backend does not take."""
    return {str(number): name for number, name in enumerate(names)} | {name: name for name in names}


SEARCHES, STRATEGIES = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"), ("kNextPowerOfTwo", "kSameAsRequested")
SHRINKAGE = "memory.enable_memory_arena_shrinkage"
DEVICE_ALLOCATORS = "session.use_device_allocator_for_initializers"

CUDA_PARAMETERS = {
    "cudnn_conv_algo_search": Parameter("how cuDNN chooses on a GPU", _numbered(*SEARCHES), only_here=SEARCHES),
    "arena_extend_strategy": Parameter("how a GPU's arena grows", _numbered(*STRATEGIES), only_here=STRATEGIES),
    "gpu_mem_limit": Parameter("bytes of a GPU's arena", most=MOST_BYTES),
    "do_copy_in_default_stream": Parameter("whether a GPU copies in its default stream", ONE_OR_ZERO),
}
"""What the C++ backend reads of the CUDA provider's options from a model's `parameters`, and resets after it has read
them from the `cuda` accelerator (server issue 8808)."""

PARAMETERS = {
    "execution_mode": Parameter("0: operators one after the other, 1: in parallel", most=1),
    "intra_op_thread_count": Parameter("threads of one operator, 0: ONNX Runtime's choice", most=MOST_THREADS),
    "inter_op_thread_count": Parameter("operators at a time, 0: ONNX Runtime's choice", most=MOST_THREADS),
    "enable_mem_arena": Parameter("whether memory is kept for the next run", ONE_OR_ZERO),
    "enable_mem_pattern": Parameter("whether a run's memory is planned by the run before", ONE_OR_ZERO),
    SHRINKAGE: Parameter(
        "arenas that give memory back after each run",
        pattern=r"(cpu|gpu):\d+(;(cpu|gpu):\d+)*",
        described="devices as in 'cpu:0' or 'cpu:0;gpu:0'",
    ),
    DEVICE_ALLOCATORS: Parameter("whether weights lie outside the arena", ONE_OR_ZERO),
    **CUDA_PARAMETERS,
    "golden_check": Parameter(
        "what follows where the golden answers come out otherwise: the model is refused, served with a warning, or not "
        "asked; NVIDIA's backend does not look at it",
        {choice: choice for choice in ("refuse", "warn", "off")},
    ),
    "FORCE_CPU_ONLY_INPUT_TENSORS": Parameter(
        "whether inputs in a GPU's memory are copied from it; read by Triton's Python backend",
        {"yes": "yes", "no": "no"},
    ),
}
"""A model's `parameters`, each a `string_value`."""
ONLY_NVIDIAS = ("share_session_between_instances",)
"""What NVIDIA's backend reads of them and this one, whose instances are processes, does not."""

CUDA_OPTIONS = CUDA_PARAMETERS | dict.fromkeys(
    ("use_ep_level_unified_stream", "enable_cuda_graph"), Parameter(choices=ONE_OR_ZERO)
)
"""Parameters of the `cuda` accelerator; others are ONNX Runtime's to check."""

PROFILES = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
"""The least, the usual and the largest shapes that a TensorRT engine is built for; all three or none."""

# NVIDIA's backend takes `on` and `off` as well, and hands them to an ONNX Runtime that does not.
_TENSORRT_SWITCH = Parameter(choices=TRUE_OR_FALSE, only_here=("on", "off"))
TENSORRT_OPTIONS = {
    "precision_mode": Parameter(
        "what TensorRT may compute in",
        {"FP32": "", "FP16": "trt_fp16_enable", "BF16": "trt_bf16_enable", "INT8": "trt_int8_enable"},
        any_case=False,
    ),
    **dict.fromkeys(
        (
            "int8_use_native_calibration_table", "trt_build_heuristics_enable", "trt_context_memory_sharing_enable",
            "trt_cuda_graph_enable", "trt_detailed_build_log", "trt_dla_enable", "trt_dump_ep_context_model",
            "trt_dump_subgraphs", "trt_engine_cache_enable", "trt_force_sequential_engine_build",
            "trt_force_timing_cache", "trt_layer_norm_fp32_fallback", "trt_sparsity_enable", "trt_timing_cache_enable",
        ),
        _TENSORRT_SWITCH,
    ),
    **dict.fromkeys(
        (
            "max_workspace_size_bytes", "trt_auxiliary_streams", "trt_builder_optimization_level", "trt_dla_core",
            "trt_ep_context_embed_mode", "trt_max_partition_iterations", "trt_min_subgraph_size",
        ),
        Parameter(most=MOST_BYTES),
    ),
    **dict.fromkeys(
        (
            "int8_calibration_table_name", "trt_engine_cache_path", "trt_engine_cache_prefix",
            "trt_ep_context_file_path", "trt_extra_plugin_lib_paths", "trt_tactic_sources", "trt_timing_cache_path",
            *PROFILES,
        ),
        Parameter(),
    ),
}  # fmt: skip
"""Parameters of the `tensorrt` accelerator. `precision_mode` names the option to turn on, the others are options."""
TENSORRT_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
"""Those that ONNX Runtime has under another name."""

RECORDING = {"cuda": "enable_cuda_graph", "tensorrt": "trt_cuda_graph_enable"}
"""The option of each accelerator for graphs that ONNX Runtime records in whatever memory a run happens to have."""

ACCELERATORS = {
    "gpu": {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"},
    "cpu": {"openvino": "OpenVINOExecutionProvider"},
}
"""The execution accelerators of each device, with ONNX Runtime's name of the provider."""
