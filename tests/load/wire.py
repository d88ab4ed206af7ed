"""Requests on the wire, with as little around them as possible, for the clock runs here."""

from functools import cache
from typing import Any, Protocol

import grpc
import grpc.experimental.gevent
import numpy as np
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

Outputs = dict[str, np.ndarray | None]


class RequestFailed(Exception):
    """No answer, for the reason given in one line."""


class Wire(Protocol):
    """A connection of one user to one version of one model; it belongs to the greenlet that made it."""

    def pack(self, inputs: dict[str, np.ndarray]) -> Any:
        """A batch made ready to be sent, outside of the measured time."""

    def send(self, packed: Any) -> Outputs:
        """Send it and wait for the outputs. Raises what the client raises."""

    def close(self) -> None:
        """Give the connection back."""


class HttpWire:
    """On tritonclient.http, which runs on gevent as Locust does."""

    def __init__(self, target: str, model: str, version: str, outputs: list[str], timeout: float) -> None:
        self._model, self._version, self._outputs = model, version, outputs
        self._asked = [tritonclient.http.InferRequestedOutput(name) for name in outputs]
        self._client = tritonclient.http.InferenceServerClient(
            target, connection_timeout=timeout, network_timeout=timeout
        )

    def pack(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        kind = tritonclient.http.InferInput
        tensors = ((name, array, np_to_triton_dtype(array.dtype)) for name, array in inputs.items())
        return [kind(name, list(array.shape), dtype).set_data_from_numpy(array) for name, array, dtype in tensors]

    def send(self, packed: list[Any]) -> Outputs:
        answer = self._client.infer(self._model, packed, self._version, self._asked)
        return {name: answer.as_numpy(name) for name in self._outputs}

    def close(self) -> None:
        self._client.close()


class GrpcWire:
    """On tritonclient's stub and a channel of its own.

    Not on tritonclient.grpc.InferenceServerClient: it closes its channel again when it is deleted, and under gevent
    gRPC counts open channels. A count that is off stops the thread all calls wait on, and the process hangs at its end.
    """

    def __init__(self, target: str, model: str, version: str, outputs: list[str], timeout: float) -> None:
        self._model, self._version, self._outputs, self._timeout = model, version, outputs, timeout
        self._channel = _channel(target)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def pack(self, inputs: dict[str, np.ndarray]) -> Any:
        request = service_pb2.ModelInferRequest(model_name=self._model, model_version=self._version)
        for name, array in inputs.items():
            dtype = np_to_triton_dtype(array.dtype)
            request.inputs.add(name=name, datatype=dtype, shape=array.shape)
            raw = serialize_byte_tensor(array).item() if dtype == "BYTES" else array.tobytes()
            request.raw_input_contents.append(raw)
        for name in self._outputs:
            request.outputs.add(name=name)
        return request

    def send(self, packed: Any) -> Outputs:
        try:
            answer = self._stub.ModelInfer(packed, timeout=self._timeout)
        except grpc.RpcError as error:
            raise RequestFailed(_reason(error)) from error
        return {
            output.name: _array(output.datatype, raw, output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    def close(self) -> None:
        self._channel.close()


def served_versions(protocol: str, target: str, timeout: float = 5.0) -> dict[str, list[str]]:
    """The versions of every model that is ready, by model. Raises what the client raises when nobody answers."""
    if protocol == "http":
        with tritonclient.http.InferenceServerClient(
            target, connection_timeout=timeout, network_timeout=timeout
        ) as client:
            found = [entry for entry in client.get_model_repository_index() if entry.get("state") == "READY"]
        pairs = [(entry["name"], entry["version"]) for entry in found]
    else:
        with _channel(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            try:
                answer = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=timeout)
            except grpc.RpcError as error:
                raise RequestFailed(_reason(error)) from error
        pairs = [(entry.name, entry.version) for entry in answer.models]
    versions: dict[str, list[str]] = {}
    for model, version in pairs:
        versions.setdefault(model, []).append(version)
    return versions


@cache
def _init_gevent() -> None:
    """gRPC's C core blocks its thread, and with it every greenlet, unless told of gevent before the first channel."""
    grpc.experimental.gevent.init_gevent()


def _channel(target: str) -> grpc.Channel:
    _init_gevent()
    # A connection for each user, as independent callers have: channels of the same options share one otherwise. And
    # messages of any size, not 4 MiB at most.
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
    ]
    return grpc.insecure_channel(target, options)


def _reason(error: grpc.RpcError) -> str:
    """One line without the times and addresses of its debug text, for Locust keeps a row for each different one."""
    return f"{error.code().name}: {' '.join((error.details() or '').split())}"


def _array(dtype: str, raw: bytes, shape: Any) -> np.ndarray:
    flat = deserialize_bytes_tensor(raw) if dtype == "BYTES" else np.frombuffer(raw, triton_to_np_dtype(dtype))
    return np.asarray(flat).reshape(tuple(shape))
