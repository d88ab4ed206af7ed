"""What a `tritonserver` has to be told to heed the rate limits of its models' configurations: by itself it does not.

Source: triton-inference-server/server docs/user_guide/rate_limiter.md.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from serving.errors import ServingError
from serving.repository.configuration import parse


def rate_limit_options(models: Path, resources: Mapping[str, int]) -> Iterator[str]:
    """Options of `tritonserver`; none where nothing is limited.

    Args:
        models: The folder of the models it is started with.
        resources: Units that the server has, by name; of others as many as the instance that needs the most.

    Raises:
        ServingError: No model needs one of `resources`.
    """
    needed = _needed(models)
    if unknown := sorted(resources.keys() - needed):
        known = ", ".join(sorted(needed)) or "none"
        raise ServingError(f"--resource {unknown[0]}: no model needs it; needed are: {known}")
    if needed:
        yield "--rate-limit=execution_count"
        yield from (f"--rate-limit-resource={name}:{units}" for name, units in resources.items())


def _needed(models: Path) -> set[str]:
    found: set[str] = set()
    for file in models.glob("*/config.pbtxt"):
        with contextlib.suppress(OSError, UnicodeDecodeError, ServingError):  # Triton says it of that model
            config = parse(file.read_text(encoding="utf-8"))
            found |= {resource.name for group in config.instance_group for resource in group.rate_limiter.resources}
    return found
