"""Rules about what a configuration says for GPUs: TensorRT's parameters, its engines, CUDA graphs.

Source: triton-inference-server/onnxruntime_backend src/onnxruntime.cc, ModelState::LoadModel; microsoft/onnxruntime
onnxruntime/core/providers/tensorrt.
"""

from collections.abc import Iterator, Mapping

from serving.backends.onnxruntime.parameters import PROFILES, RECORDING, TENSORRT_OPTIONS
from serving.lint.findings import Found, rule
from serving.lint.model_folder import ModelFolder

ON = ("1", "true", "on")


def _parameters(model: ModelFolder, name: str) -> Mapping[str, str] | None:
    """The parameters of one gpu accelerator; None where the model does not have it."""
    found: dict[str, str] | None = None
    for entry in model.config.optimization.execution_accelerators.gpu_execution_accelerator:
        if model.is_onnx and entry.name == name:
            found = (found or {}) | dict(entry.parameters)
    return found


@rule("tensorrt-parameter", "error")
def tensorrt_parameter(model: ModelFolder) -> Iterator[Found]:
    """A parameter of the `tensorrt` accelerator, or its value, is refused: the model does not load."""
    for key, value in sorted((_parameters(model, "tensorrt") or {}).items()):
        field = f"gpu_execution_accelerator 'tensorrt'.{key}"
        if key not in TENSORRT_OPTIONS:
            yield Found(
                field, "no parameter of it", f"one of {', '.join(sorted(TENSORRT_OPTIONS))}", "remove or correct it"
            )
        elif not TENSORRT_OPTIONS[key].taken_everywhere(value):
            yield Found(field, repr(value), TENSORRT_OPTIONS[key].allowed_everywhere, "correct it")


@rule("engine-cache-shared", "error", loads=True)
def engine_cache_shared(model: ModelFolder) -> Iterator[Found]:
    """TensorRT engines of several versions in one folder: an engine has weights, and its name does not tell whose."""
    parameters = _parameters(model, "tensorrt") or {}
    if parameters.get("trt_engine_cache_enable", "").lower() not in ON:
        return
    field = "gpu_execution_accelerator 'tensorrt'.trt_engine_cache_path"
    policy = model.config.version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    several = {
        "all": True,
        "latest": policy.latest.num_versions > 1,
        "specific": len(policy.specific.versions) > 1,
    }[kind]
    if not parameters.get("trt_engine_cache_path"):
        yield Found(
            field,
            "not set: NVIDIA's backend keeps the engines of all models and versions where the server was started",
            "a folder for this version alone",
            "set it, as `conch publish --tensorrt FOLDER` does",
        )
    elif several:
        yield Found(
            field,
            f"{parameters['trt_engine_cache_path']!r} for every version that is served: one answers with the weights "
            "of another",
            "version_policy { latest { num_versions: 1 } }, and another folder for each version",
            "serve one version, or turn trt_engine_cache_enable off",
        )


@rule("tensorrt-profile", "warning")
def tensorrt_profile(model: ModelFolder) -> Iterator[Found]:
    """Without shapes to build for, TensorRT builds its engine anew, for minutes, at the first larger batch."""
    parameters = _parameters(model, "tensorrt")
    if parameters is None or model.config.max_batch_size < 2 or set(PROFILES) <= parameters.keys():
        return
    yield Found(
        "gpu_execution_accelerator 'tensorrt'",
        f"no {', '.join(key for key in PROFILES if key not in parameters)}",
        "all three, INPUT:1x28x28,... for each input with an open axis",
        "set them, or warm up the largest batch first and keep the engines",
    )


@rule("recorded-anywhere", "error")
def recorded_anywhere(model: ModelFolder) -> Iterator[Found]:
    """A CUDA graph reads the memory it was recorded with; NVIDIA's backend gives each run another: wrong answers."""
    for name, key in RECORDING.items():
        value = (_parameters(model, name) or {}).get(key, "")
        if value.lower() in ON:
            yield Found(
                f"gpu_execution_accelerator {name!r}.{key}",
                repr(value),
                "not set; Conch's backend has CUDA graphs by optimization { cuda { graphs: true } }",
                "remove it",
            )


@rule("cuda-graphs", "error")
def cuda_graphs(model: ModelFolder) -> Iterator[Found]:
    """CUDA graphs for batches that the model does not take, or beside TensorRT: Conch's backend does not load it."""
    cuda = model.config.optimization.cuda
    if not (model.is_onnx and cuda.graphs):
        return
    most = model.config.max_batch_size
    if most == 0:
        yield Found("optimization.cuda.graphs", "true, with max_batch_size 0", "a batch axis", "turn it off")
    elif _parameters(model, "tensorrt") is not None:
        yield Found("optimization.cuda.graphs", "true, with the tensorrt accelerator", "one of them", "take one out")
    for spec in cuda.graph_spec if most else ():
        if not 1 <= spec.batch_size <= most:
            yield Found("optimization.cuda.graph_spec", f"batch_size {spec.batch_size}", f"1 to {most}", "correct it")
