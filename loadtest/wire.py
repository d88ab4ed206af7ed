"""Requests on the wire, with as little around them as possible, for the clock runs here.

The bytes are those of tritonclient: its own functions make the HTTP body and the gRPC message, once for each item.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol
from urllib.parse import quote

import gevent
import grpc
import grpc.experimental.gevent
import numpy as np
import tritonclient.http
from gevent import select, socket
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from clients.access import Door
from clients.address import channel_options
from loadtest.errors import RequestFailed, RequestRefused
from loadtest.golden import Golden
from loadtest.streams import Step

Outputs = dict[str, np.ndarray]

JOINED = 1 << 16
"""Bytes of a body up to which it is copied behind its head, to be sent in one piece."""
UNUSED_S = 1.0
"""After so long a connection may have been ended by the other side."""


class Wire(Protocol):
    """A connection of one user; it belongs to the greenlet that made it."""

    def send(self, packed: Any) -> Outputs:
        """Send what `pack` made and wait for the outputs. Raises RequestFailed or OSError."""

    def close(self) -> None:
        """Give the connection back."""


def pack(protocol: str, golden: Golden, items: list[int], step: Step | None = None) -> Any:
    """A batch of golden inputs made ready to be sent, outside of the measured time."""
    make = _pack_http if protocol == "http" else _pack_grpc
    if step is not None:
        return make(golden, items, step)
    if len(items) == 1:
        made = _PACKED.setdefault((protocol, golden.model, golden.sha256), {})
        if items[0] not in made:
            made[items[0]] = make(golden, items)
        return made[items[0]]
    return make(golden, items)


_PACKED: dict[tuple[str, str, str], dict[int, Any]] = {}  # a golden file has tens of items


@dataclass(frozen=True)
class PackedHttp:
    """A request but for what its connection adds: the server's name, and what lets the caller in."""

    path: str
    lengths: bytes
    """The headers that the body needs."""
    body: bytes


def _pack_http(golden: Golden, items: list[int], step: Step | None = None) -> PackedHttp:
    inputs = [
        tritonclient.http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(
            array
        )
        for name, array in golden.questions(items, step.number if step else None).items()
    ]
    outputs = [tritonclient.http.InferRequestedOutput(name) for name in golden.outputs]
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body(
        inputs, outputs=outputs, **_sequence(step)
    )
    lengths = (
        f"Content-Length: {len(body)}\r\n"
        f"Inference-Header-Content-Length: {len(body) if json_size is None else json_size}\r\n\r\n"
    )
    path = f"/v2/models/{quote(golden.model, safe='')}/versions/{golden.version}/infer"
    return PackedHttp(path, lengths.encode(), body)


def _sequence(step: Step | None) -> dict[str, Any]:
    """Parameters of the sequence extension (docs/protocol/extension_sequence.md of triton-inference-server/server)."""
    if step is None:
        return {}
    return {"sequence_id": step.sequence.id, "sequence_start": step.start, "sequence_end": step.end}


def _pack_grpc(golden: Golden, items: list[int], step: Step | None = None) -> Any:
    request = service_pb2.ModelInferRequest(model_name=golden.model, model_version=golden.version)
    for name, value in _sequence(step).items():
        setattr(request.parameters[name], "bool_param" if isinstance(value, bool) else "int64_param", value)
    for name, array in golden.questions(items, step.number if step else None).items():
        dtype = np_to_triton_dtype(array.dtype)
        request.inputs.add(name=name, datatype=dtype, shape=array.shape)
        # Of no text at all tritonclient makes an array without an element.
        raw = serialize_byte_tensor(array).item() if dtype == "BYTES" and array.size else array.tobytes()
        request.raw_input_contents.append(raw)
    for name in golden.outputs:
        request.outputs.add(name=name)
    return request


class HttpWire:
    """One kept-alive connection, on a socket: tritonclient.http spends three times as long around each request.

    Triton answers with a length, never in chunks, and so does what stands in front of it; whatever it does not
    understand here is an error and never an answer.
    """

    _STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
    _LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
    _JSON_LENGTH = re.compile(rb"\r\nInference-Header-Content-Length: *(\d+)", re.IGNORECASE)
    _LAST = re.compile(rb"\r\nConnection: *close", re.IGNORECASE)

    def __init__(self, door: Door, timeout: float) -> None:
        self._door, self._timeout = door, timeout
        self._host, _, base = door.address.target.partition("/")
        self._base = f"/{base}" if base else ""
        self._socket: Any = None
        self._used = 0.0
        self._shown: Mapping[str, str] | None = None
        self._opening = b""

    def send(self, packed: PackedHttp) -> Outputs:
        try:
            if self._socket is None or self._was_dropped():
                self._connect()
            head = f"POST {self._base}{packed.path} HTTP/1.1\r\n".encode() + self._headers() + packed.lengths
            for piece in (head, packed.body) if len(packed.body) > JOINED else (head + packed.body,):
                self._socket.sendall(piece)
            return self._read()
        except BaseException:  # what is left unread would be taken for the next answer
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        self.close()
        host, port = self._door.address.host_port
        self._socket = socket.create_connection((host, port), self._timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if (context := self._door.context) is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def _was_dropped(self) -> bool:
        """Whether the other side has ended a connection that nobody used for a while, as proxies do."""
        if time.monotonic() - self._used < UNUSED_S:
            return False
        return bool(select.select([self._socket], [], [], 0)[0])

    def _headers(self) -> bytes:
        shown = self._door.headers()
        if shown is not self._shown:
            lines = [f"Host: {self._host}", *(f"{name}: {value}" for name, value in shown.items())]
            self._shown, self._opening = shown, "".join(f"{line}\r\n" for line in lines).encode()
        return self._opening

    def _read(self) -> Outputs:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        head, body = data[:end], data[end + 4 :]
        status, length = self._STATUS.match(head), self._LENGTH.search(head)
        if status is None or length is None:
            raise RequestFailed("an answer that is no HTTP/1.1 with a Content-Length")
        while len(body) < int(length[1]):
            body += self._receive()
        self._used = time.monotonic()
        if self._LAST.search(head):
            self.close()
        if status[1] != b"200":
            refused = RequestRefused if status[1] in (b"429", b"503") else RequestFailed
            raise refused(f"HTTP {status[1].decode()}: {' '.join(body.decode(errors='replace').split())[:300]}")
        json_length = self._JSON_LENGTH.search(head)
        return _http_outputs(body, int(json_length[1]) if json_length else len(body))

    def _receive(self) -> bytes:
        part: bytes = self._socket.recv(1 << 18)
        if not part:
            raise RequestFailed("the connection was closed")
        return part


def _http_outputs(body: bytes, json_length: int) -> Outputs:
    outputs = {}
    for name, dtype, shape, start, stop in _layout(body[:json_length]):
        outputs[name] = _array(dtype, body[json_length + start : json_length + stop], shape)
    return outputs


@lru_cache(maxsize=1024)
def _layout(header: bytes) -> list[tuple[str, str, tuple[int, ...], int, int]]:
    """Name, type, shape and place of each output; the header of answers of equal shape is the same."""
    found, start = [], 0
    for output in json.loads(header)["outputs"]:
        stop = start + output["parameters"]["binary_data_size"]
        found.append((output["name"], output["datatype"], tuple(output["shape"]), start, stop))
        start = stop
    return found


class GrpcWire:
    """On tritonclient's stub and a channel of its own.

    Not on tritonclient.grpc.InferenceServerClient: it closes its channel again when it is deleted, and under gevent
    gRPC counts open channels. A count that is off stops the thread all calls wait on, and the process hangs at its end.
    """

    def __init__(self, door: Door, timeout: float) -> None:
        self._door, self._timeout = door, timeout
        self._channel = _channel(door)
        # A call waits in a thread of gevent's pool, which has ten: were those all waiting for slow answers, one that
        # has come would be seen when one of them is over. Threads are made as they are needed.
        gevent.get_hub().threadpool.maxsize += 1
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def send(self, packed: Any) -> Outputs:
        try:
            shown = [(name.lower(), value) for name, value in self._door.headers().items()]
            answer = self._stub.ModelInfer(packed, timeout=self._timeout, metadata=shown)
        except grpc.RpcError as error:
            raise (RequestRefused if _refused(error) else RequestFailed)(_reason(error)) from error
        return {
            output.name: _array(output.datatype, raw, output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    def close(self) -> None:
        self._channel.close()


@cache
def _init_gevent() -> None:
    """gRPC's C core blocks its thread, and with it every greenlet, unless told of gevent before the first channel."""
    grpc.experimental.gevent.init_gevent()


def _channel(door: Door) -> grpc.Channel:
    _init_gevent()
    target = door.address.target
    # A connection for each user, as independent callers have: channels of the same options share one otherwise. And
    # messages of any size, not 4 MiB at most.
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        *channel_options(target),
    ]
    if door.address.tls:
        return grpc.secure_channel(target, door.certificates.channel_credentials(), options)
    return grpc.insecure_channel(target, options)


_NO_ROOM = ("maximum queue size", "timeout expired", "has been expired")
"""Triton's words, for a broken connection is UNAVAILABLE as well; the client library knows them, too."""


def _refused(error: grpc.RpcError) -> bool:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return any(words in (error.details() or "") for words in _NO_ROOM)
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def _reason(error: grpc.RpcError) -> str:
    """One line without the times and addresses of its debug text, for Locust keeps a row for each different one."""
    return f"{error.code().name}: {' '.join((error.details() or '').split())}"


def _array(dtype: str, raw: bytes, shape: Any) -> np.ndarray:
    flat = deserialize_bytes_tensor(raw) if dtype == "BYTES" else np.frombuffer(raw, triton_to_np_dtype(dtype))
    return np.asarray(flat).reshape(tuple(shape))
