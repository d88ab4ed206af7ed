"""KServe v2 over gRPC, as messages of tritonclient's generated code."""

import re
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2

from clients.address import Address, channel_options
from clients.calls import Answer, Inference, Inferred, MemoryRequest, Question, Sending, Window
from clients.certificates import Certificates
from clients.errors import ClientError, Overloaded, Refused
from clients.tensors import from_raw, kserve_dtype, raw
from clients.transports import trust
from clients.transports.http_message import parameters
from clients.transports.transport import NOT_READY, RESTRICTED, broken, foreign, late, nobody, not_ready, unauthorized

# gRPC allows 4 MiB a message unless told; a batch of pictures is soon past that. -1 is without bound: what is sent is
# the caller's own, and the server has a bound of its own. Channels of one process share connections unless told; in a
# forked child that would be the parent's.
CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    # After a server was away it is looked for again soon, not after the 20 s of gRPC.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # With a keepalive gRPC sets TCP_USER_TIMEOUT: a connection whose peer takes no byte of what is written for 10 s is
    # dropped. The ping itself comes no more often than Triton allows without being asked, every 300 s.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]

METHODS = {
    "server": ("ServerMetadata", service_pb2.ServerMetadataRequest),
    "ready": ("ServerReady", service_pb2.ServerReadyRequest),
    "index": ("RepositoryIndex", service_pb2.RepositoryIndexRequest),
    "statistics": ("ModelStatistics", service_pb2.ModelStatisticsRequest),
    "metadata": ("ModelMetadata", service_pb2.ModelMetadataRequest),
    "config": ("ModelConfig", service_pb2.ModelConfigRequest),
}

_NEVER_CONNECTED = ("failed to connect", "errors resolving", "DNS resolution", "name resolution")
_TLS = re.compile(r"(?:OPENSSL_internal:|UNAUTHENTICATED: )(.+?)(?:: Invalid certificate.*|: OK.*)?$")
_BROKEN = ("Stream removed", "Failed parsing HTTP/2", "RST_STREAM", "GOAWAY")
"""gRPC's words for a connection that broke in mid-call, where its status is of another kind."""
_NO_ROOM = (
    "maximum queue size", "timeout expired", "has been expired", "is stopping", "stopped accepting", "not ready",
    "no available",
)  # fmt: skip
"""Triton's words for a request that it did not run: a full queue, too long a wait in one, or for a place among the
sequences, a model that comes or goes.
They are UNAVAILABLE, as is a connection that broke in mid-call, which the request may have survived; what is not known
to be Triton's is taken for the latter."""

MEMORY = {"regions": "Status", "register": "Register", "unregister": "Unregister"}


def channel(library: Any, address: Address, certificates: Certificates) -> Any:
    """A channel to `address` of `library`, which is grpc or grpc.aio. Raises ClientError for certificates that are
    none."""
    options = [*CHANNEL, *channel_options(address.target)]
    if address.tls:
        return library.secure_channel(address.target, certificates.channel_credentials(), options)
    return library.insecure_channel(address.target, options)


def written(sending: Sending) -> tuple[str, Any]:
    """The method to call, and its message."""
    request = sending.request
    if isinstance(request, Question):
        method, make = METHODS[request.about]
        of_model = {"name": request.model, "version": request.version} if request.model else {}
        return method, make(**of_model)
    if isinstance(request, MemoryRequest):
        return _of_memory(request)
    return "ModelInfer", _infer(request, sending.deadline.left())


def size(sending: Sending) -> int:
    """Bytes of a request's tensors, which is what there is of one that is large. The message's own count would
    serialize all of it once more."""
    if not isinstance(sending.request, Inference):
        return 0
    inputs, elsewhere = sending.request.inputs, sending.request.inputs_in
    return sum(
        array.nbytes if array.dtype.kind != "O" else sum(4 + len(text) for text in array.ravel().tolist())
        for name, array in inputs.items()
        if name not in elsewhere
    )


def metadata(sending: Sending) -> list[tuple[str, str]]:
    """The headers, whose names gRPC wants in lower case."""
    return [(name.lower(), value) for name, value in sending.headers.items()]


def read(sending: Sending, message: Any) -> Answer | ClientError:
    """What the answer means."""
    try:
        if isinstance(sending.request, Inference):
            return _inferred(sending.request, message)
        if isinstance(sending.request, MemoryRequest):
            return list(message.regions) if sending.request.about == "regions" else {}
        if sending.request.about == "ready":
            return {"ready": bool(message.ready)}
        found: Mapping[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
        if sending.request.about == "index":
            return found.get("models", [])
        return found.get("config", {}) if sending.request.about == "config" else found
    except (ValueError, KeyError):
        return foreign(sending)


def refusal(sending: Sending, error: Any) -> ClientError:
    """What an RpcError means, of the blocking or the asyncio kind."""
    code, said = error.code(), " ".join((error.details() or "the server refused without a reason").split())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return late(sending)
    if code is grpc.StatusCode.UNIMPLEMENTED and not isinstance(sending.request, MemoryRequest):
        return foreign(sending)
    if code is grpc.StatusCode.UNAVAILABLE and any(words in said for words in _NEVER_CONNECTED):
        if "HTTP/2" in said or "http1" in said:
            return foreign(sending)
        if found := _TLS.search(said):
            return trust.distrust(sending, found[1])
        if "Socket closed" in said:
            return trust.mute(sending, "closed without an answer", not_run=True)
        return nobody(sending, said.rsplit(": ", 1)[-1])
    if RESTRICTED in said:
        return unauthorized(sending, said, str(code))
    if NOT_READY in said:
        return not_ready(said, str(code))
    if any(words in said for words in _BROKEN):
        return broken(sending, said)
    if code is grpc.StatusCode.UNAVAILABLE and not any(words in said for words in _NO_ROOM):
        return broken(sending, said)
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return unauthorized(sending, said, str(code))
    if "status: 400" in said and sending.address.tls:
        return trust.wants_certificate(sending)
    if "deserializing response" in said:
        return foreign(sending)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in said:
        return Refused(f"{said}: send fewer items at once", str(code))
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return Overloaded(f"{sending.address} has no room for the request now: {said}; send less, or later", str(code))
    return Refused(said, str(code))


def _infer(request: Inference, seconds: float) -> Any:
    message = service_pb2.ModelInferRequest(model_name=request.model, model_version=request.version)
    for name, value in parameters(request, seconds).items():
        kind = {bool: "bool_param", str: "string_param"}.get(type(value), "int64_param")
        kind = "uint64_param" if name == "priority" else kind
        setattr(message.parameters[name], kind, value)
    for name, array in request.inputs.items():
        tensor = message.inputs.add(name=name, datatype=kserve_dtype(array), shape=array.shape)
        if (window := request.inputs_in.get(name)) is not None:
            _point(tensor, window)
        else:
            message.raw_input_contents.append(raw(array))
    for name, classes in request.outputs.items():
        output = message.outputs.add(name=name)
        if classes:
            output.parameters["classification"].int64_param = classes
        elif (window := request.outputs_in.get(name)) is not None:
            _point(output, window)
    return message


def _point(tensor: Any, window: Window) -> None:
    for name, value in window.parameters().items():
        setattr(tensor.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)


def _of_memory(request: MemoryRequest) -> tuple[str, Any]:
    method = f"{request.kind.capitalize()}SharedMemory{MEMORY[request.about]}"
    make = getattr(service_pb2, f"{method}Request")
    if request.about != "register":
        return method, make(name=request.name)
    if request.kind == "cuda":
        return method, make(name=request.name, raw_handle=request.handle, device_id=0, byte_size=request.size)
    return method, make(name=request.name, key=f"/{request.name}", byte_size=request.size)


def _inferred(request: Inference, message: Any) -> Inferred:
    places = request.outputs_in
    outputs = {
        output.name: places[output.name].array(output.datatype, output.shape)
        if output.name in places
        else from_raw(data, output.datatype, output.shape)
        for output, data in zip(message.outputs, message.raw_output_contents, strict=True)
    }
    return Inferred({name: outputs[name] for name in request.outputs}, message.model_version)
