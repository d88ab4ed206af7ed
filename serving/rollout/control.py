"""Have a running server load and unload models, over gRPC.

A load over HTTP holds the connections of the thread that takes it for as long as it lasts; over gRPC nobody waits.

Source: triton-inference-server/server docs/protocol/extension_model_repository.md.
"""

import contextlib
import time
from collections.abc import Iterator

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from serving.errors import ServingError

LOAD_SECONDS = 300.0
"""Within which a model must load, warm-up included."""
UNLOAD_SECONDS = 30.0


class Control:
    """Calls the gRPC service at "host:port"; every method raises ServingError where the server says no, or nothing."""

    def __init__(self, address: str) -> None:
        # No proxy: the server is one that this machine started.
        self._client = InferenceServerClient(address, channel_args=[("grpc.enable_http_proxy", 0)])
        self._address = address

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def load(self, model: str) -> None:
        """Load a model, or what has changed of it; returns when it is ready."""
        with self._speaking(f"load {model!r}"):
            self._client.load_model(model, client_timeout=LOAD_SECONDS)

    def unload(self, model: str) -> None:
        """Unload a model; returns when nothing of it is left, or after a while."""
        with self._speaking(f"unload {model!r}"):
            self._client.unload_model(model, client_timeout=UNLOAD_SECONDS)
        deadline = time.monotonic() + UNLOAD_SECONDS
        while time.monotonic() < deadline and model in self._states():
            time.sleep(0.05)

    def ready_versions(self, model: str) -> list[int]:
        """Those that answer, ascending."""
        return sorted(int(version) for version in self._states().get(model, []))

    def requests(self, model: str) -> int:
        """How many it has had, answered or failed."""
        with self._speaking(f"the statistics of {model!r}"):
            found = self._client.get_inference_statistics(model, as_json=True, client_timeout=UNLOAD_SECONDS)
        counted = [entry.get("inference_stats", {}) for entry in found.get("model_stats", [])]
        return sum(int(stats.get(kind, {}).get("count", 0)) for stats in counted for kind in ("success", "fail"))

    def _states(self) -> dict[str, list[str]]:
        """The ready versions of each model that has some, or is about to lose them."""
        with self._speaking("its models"):
            index = self._client.get_model_repository_index(as_json=True, client_timeout=UNLOAD_SECONDS)
        found: dict[str, list[str]] = {}
        for entry in index.get("models", []):
            if entry.get("state") == "READY":
                found.setdefault(entry["name"], []).append(entry["version"])
            elif entry.get("state") in ("LOADING", "UNLOADING"):
                found.setdefault(entry["name"], [])
        return found

    @contextlib.contextmanager
    def _speaking(self, asked: str) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            reason = " ".join((error.message() or str(error)).split())
            raise ServingError(f"the server at {self._address} refuses {asked}: {reason}") from error
