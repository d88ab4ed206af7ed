"""What each model of a running server runs on, by the server's metrics.

Conch's backend sets a metric for each instance: which execution provider its session really has, and which its
configuration asks for. NVIDIA's backend does not tell.

Source: prometheus.io, "Exposition formats", text-based format.
"""

import re
import time

from serving.errors import ServingError
from serving.kserve.endpoint import ControlClient, ModelState

METRIC = "conch_execution_provider"
# Triton opens the port of its metrics as the last one, after it has said that it is ready.
LATE_SECONDS = 2.0

Placements = dict[tuple[str, str], set[tuple[str, str]]]
"""Model and version -> the pairs of a provider that an instance has and the one it asks for."""


def placements(metrics: str, timeout: float = LATE_SECONDS) -> Placements | None:
    """What the server with this metrics address ("host:port") says; None where nobody answers there."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with ControlClient(metrics, timeout) as client:
                return _read(client.metrics())
        except ServingError:
            if time.monotonic() > deadline:
                return None
        time.sleep(0.05)


def _read(text: str) -> Placements:
    found: Placements = {}
    for labels in re.findall(rf"^{METRIC}\{{(.*)\}} 1$", text, re.MULTILINE):
        said = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))
        found.setdefault((said["model"], said["version"]), set()).add((said["provider"], said["asked"]))
    return found


def shown(state: ModelState, found: Placements) -> str:
    """For a person: `CPU`, `CUDA, CPU`, `CPU, asked for TensorRT`; `?` where the backend does not tell."""
    pairs = found.get((state.name, state.version), set())
    return "; ".join(sorted(_pair(provider, asked) for provider, asked in pairs)) or "?"


def _pair(provider: str, asked: str) -> str:
    has, wanted = (name.removesuffix("ExecutionProvider").replace("Tensorrt", "TensorRT") for name in (provider, asked))
    return has if has == wanted else f"[yellow]{has}, asked for {wanted}[/]"
