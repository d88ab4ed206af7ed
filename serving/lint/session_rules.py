"""Rules about the `parameters` and `optimization` that NVIDIA's ONNX Runtime backend reads (its README and source)."""

from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import ModelConfig

from clients import generation
from clients.preparation import KEYS, UnknownPreparation, described
from serving.backends.onnxruntime.parameters import ACCELERATORS, CUDA_PARAMETERS, ONLY_NVIDIAS, PARAMETERS
from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder


@rule("parameter-value", "error")
def parameter_value(model: ModelFolder) -> Iterator[Found]:
    """A parameter has a value that the backend refuses, or dies of, or that no client can read."""
    if not model.is_onnx:
        return
    parameters = {key: entry.string_value for key, entry in model.config.parameters.items()}
    for said_as, read in (("picture_...", described), (generation.KEY, generation.described)):
        try:
            read(parameters)
        except (UnknownPreparation, generation.UnknownGeneration) as error:
            said, _, allowed = str(error).partition(", allowed ")
            yield Found(f"parameters {said_as!r}", said, allowed.partition(" ")[2], "correct it")
    for key in sorted(model.config.parameters):
        value = model.config.parameters[key].string_value
        if key in PARAMETERS and not PARAMETERS[key].taken_everywhere(value):
            yield Found(f"parameters {key!r}", repr(value), PARAMETERS[key].allowed_everywhere, "correct it")


@rule("unknown-parameter", "note")
def unknown_parameter(model: ModelFolder) -> Iterator[Found]:
    """A parameter that the backend does not know, and ignores without a word."""
    if not model.is_onnx:
        return
    known = (*PARAMETERS, *ONLY_NVIDIAS, *KEYS, generation.KEY)
    for key in sorted(model.config.parameters):
        if key not in known and not key.startswith("picture_"):  # of those the rule above tells
            yield Found(
                f"parameters {key!r}", "ignored by the backend", f"one of {', '.join(known)}", "remove or correct it"
            )


@rule("cuda-option-overwritten", "warning")
def cuda_option_overwritten(model: ModelFolder) -> Iterator[Found]:
    """An option of the `cuda` accelerator that released backends overwrite with its default."""

    def move(config: ModelConfig) -> dict[str, bytes]:
        for entry in config.optimization.execution_accelerators.gpu_execution_accelerator:
            for key in CUDA_PARAMETERS:
                if entry.name == "cuda" and key in entry.parameters:
                    if key not in config.parameters:
                        config.parameters[key].string_value = _numbered(key, entry.parameters[key])
                    del entry.parameters[key]
        return {}

    for entry in model.config.optimization.execution_accelerators.gpu_execution_accelerator:
        for key in CUDA_PARAMETERS:
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


def _numbered(key: str, value: str) -> str:
    """`value` as the parameters have it: the accelerator takes ONNX Runtime's names, the parameters their numbers."""
    parameter = CUDA_PARAMETERS[key]
    if parameter.taken_everywhere(value):
        return value
    return next((number for number in parameter.everywhere if parameter.choices[number] == value), value)
