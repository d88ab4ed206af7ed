"""What a `tritonserver` has to be told because of the configurations of its models.

Rate limits it does not heed by itself. And for each model it starts a process of the backend that completes the
configuration, and ends it again: as much work as an instance, for nothing where all configurations are complete.

Source: triton-inference-server/server docs/user_guide/rate_limiter.md; python_backend src/python_be.cc (ModelState).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.errors import ServingError
from serving.repository.configuration import parse
from serving.repository.text_pipeline import MARK

ONNX = "onnxruntime"
ONLY_OURS = "--disable-auto-complete-config"
"""Given where every model is complete, and so of a backend of this kit."""


def model_options(models: Path, resources: Mapping[str, int]) -> Iterator[str]:
    """Options of `tritonserver`.

    Args:
        models: The folder of the models it is started with.
        resources: Units that the server has of what rate limits share, by name; of others as many as the instance that
            needs the most.

    Raises:
        ServingError: No model needs one of `resources`.
    """
    yield from options_of([_config(folder) for folder in models.iterdir()], resources)


def options_of(configs: Sequence[ModelConfig], resources: Mapping[str, int]) -> Iterator[str]:
    """As `model_options`, of configurations that have been read."""
    if all(map(_is_complete, configs)):
        yield ONLY_OURS
    groups = [group for config in configs for group in config.instance_group]
    needed = {resource.name for group in groups for resource in group.rate_limiter.resources}
    if unknown := sorted(resources.keys() - needed):
        known = ", ".join(sorted(needed)) or "none"
        raise ServingError(f"--resource {unknown[0]}: no model needs it; needed are: {known}")
    if needed:
        yield "--rate-limit=execution_count"
        yield from (f"--rate-limit-resource={name}:{units}" for name, units in resources.items())


def _config(model: Path) -> ModelConfig:
    """Empty where there is none that can be read: Triton says it of that model."""
    try:
        return parse((model / "config.pbtxt").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ServingError):
        return ModelConfig()


def _is_complete(config: ModelConfig) -> bool:
    """Whether the backend would leave it as it is. What backends of others would do is theirs to know."""
    ours = config.backend == ONNX or config.platform == "ensemble" or MARK in config.parameters
    return ours and bool(config.input or config.batch_input) and bool(config.output)
