"""Requests on the wire: tritonclient's two clients with as little around them as possible, for the clock runs here."""

from functools import cache
from typing import Any, Protocol

import grpc.experimental.gevent
import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype


class Wire(Protocol):
    """A connection of one user to one version of one model; it belongs to the greenlet that made it."""

    def pack(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        """A batch made ready to be sent, outside of the measured time."""

    def send(self, packed: list[Any]) -> dict[str, np.ndarray | None]:
        """Send it and wait for the outputs. Raises what the client raises."""

    def close(self) -> None:
        """Give the connection back."""


class HttpWire:
    def __init__(self, target: str, model: str, version: str, outputs: list[str], timeout: float) -> None:
        self._model, self._version, self._outputs = model, version, outputs
        self._asked = [tritonclient.http.InferRequestedOutput(name) for name in outputs]
        self._client = tritonclient.http.InferenceServerClient(
            target, connection_timeout=timeout, network_timeout=timeout
        )

    def pack(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        return [_tensor(tritonclient.http.InferInput, name, array) for name, array in inputs.items()]

    def send(self, packed: list[Any]) -> dict[str, np.ndarray | None]:
        answer = self._client.infer(self._model, packed, self._version, self._asked)
        return {name: answer.as_numpy(name) for name in self._outputs}

    def close(self) -> None:
        self._client.close()


class GrpcWire:
    def __init__(self, target: str, model: str, version: str, outputs: list[str], timeout: float) -> None:
        _init_gevent()
        self._model, self._version, self._outputs, self._timeout = model, version, outputs, timeout
        self._asked = [tritonclient.grpc.InferRequestedOutput(name) for name in outputs]
        # A channel of its own for each user, as independent callers have: channels of the same options share one
        # connection otherwise.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._client = tritonclient.grpc.InferenceServerClient(target, channel_args=options)

    def pack(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        return [_tensor(tritonclient.grpc.InferInput, name, array) for name, array in inputs.items()]

    def send(self, packed: list[Any]) -> dict[str, np.ndarray | None]:
        answer = self._client.infer(self._model, packed, self._version, self._asked, client_timeout=self._timeout)
        return {name: answer.as_numpy(name) for name in self._outputs}

    def close(self) -> None:
        self._client.close()


def served_versions(protocol: str, target: str, timeout: float = 5.0) -> dict[str, list[str]]:
    """The versions of every model that is ready, by model. Raises what the client raises when nobody answers."""
    if protocol == "http":
        http = tritonclient.http.InferenceServerClient(target, connection_timeout=timeout, network_timeout=timeout)
        with http:
            entries = http.get_model_repository_index()
    else:
        _init_gevent()
        with tritonclient.grpc.InferenceServerClient(target) as client:
            answer = client.get_model_repository_index(as_json=True, client_timeout=timeout)
            entries = answer.get("models", [])
    versions: dict[str, list[str]] = {}
    for entry in entries:
        if entry.get("state") == "READY":
            versions.setdefault(entry["name"], []).append(entry["version"])
    return versions


@cache
def _init_gevent() -> None:
    """gRPC's C core blocks its thread, and with it every greenlet, unless told of gevent before the first channel."""
    grpc.experimental.gevent.init_gevent()


def _tensor(kind: Any, name: str, array: np.ndarray) -> Any:
    return kind(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
