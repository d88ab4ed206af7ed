"""Whether a message of gRPC is what Triton can take without harm.

What was read here is written anew for Triton: it gets nothing that was not looked at.
"""

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from serving.guard.json_requests import BYTE_COUNTS, CLASSES, SHARED_MEMORY
from serving.guard.routes import SERVICE
from serving.guard.tensors import MAX_TENSORS, Refusal, check_bytes, check_count

FIELDS = {
    "BOOL": "bool_contents", "BYTES": "bytes_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
}  # fmt: skip
"""Datatype -> where its elements stand, if not in `raw_input_contents`."""
HEALTH_CHECK = "/grpc.health.v1.Health/Check"


def request_class(path: str) -> type[Any] | None:
    """What the method at `path` takes, or None where it is not known here."""
    if path == HEALTH_CHECK:  # its one field, the name of a service, is one text, as this one's
        return service_pb2.RepositoryIndexRequest
    service, _, name = path.removeprefix("/").partition("/")
    found: MethodDescriptor | None = None
    if service == SERVICE:
        found = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name.get(name)
    return message_factory.GetMessageClass(found.input_type) if found else None


def read(kind: type[Any], data: bytes) -> Any:
    """The message, without fields that `kind` does not have.

    Raises:
        Refusal: It is none.
    """
    try:
        message = kind.FromString(data)
    except DecodeError:
        raise Refusal(f"the message is no {kind.DESCRIPTOR.name}") from None
    message.DiscardUnknownFields()
    return message


def check_inference(message: Any, *, shared_memory: bool = False) -> tuple[str, ...]:
    """Check a `ModelInferRequest`; the outputs of which it asks the classes.

    Raises:
        Refusal: It is wrong, or asks for what is shut.
    """
    for key in ("inputs", "outputs"):
        if (count := len(getattr(message, key))) > MAX_TENSORS:
            raise Refusal(f"the request has {count} {key}, at most {MAX_TENSORS} are allowed")
    _check_parameters(message, "the request", shared_memory)
    raw = iter(message.raw_input_contents)
    for tensor in message.inputs:
        name, shape = tensor.name[:1000], tensor.shape
        parameters = _check_parameters(tensor, f"input {name!r}", shared_memory)
        if "shared_memory_region" in parameters:
            check_count(name, tensor.datatype, shape, BYTE_COUNTS.stop, exactly=False)
        elif message.raw_input_contents:
            if (sent := next(raw, None)) is None:
                raise Refusal(f"input {name!r} has no raw_input_contents, others have")
            check_bytes(name, tensor.datatype, shape, len(sent))
        else:
            field = FIELDS.get(tensor.datatype, "")
            count = len(getattr(tensor.contents, field)) if field else 0
            check_count(name, tensor.datatype, shape, count, exactly=True)
        if message.raw_input_contents and tensor.HasField("contents"):
            raise Refusal(f"input {name!r} has contents, and the request raw_input_contents: one of them is needed")
    if next(raw, None) is not None:
        raise Refusal("there are more raw_input_contents than inputs")
    classified = []
    for output in message.outputs:
        if "classification" in _check_parameters(output, f"output {output.name[:1000]!r}", shared_memory):
            _integer(output.parameters, "classification", CLASSES)
            classified.append(output.name)
    return tuple(classified)


def _check_parameters(holder: Any, where: str, shared_memory: bool) -> Any:
    for key in SHARED_MEMORY:
        if key in holder.parameters:
            if not shared_memory:
                raise Refusal(f"parameter {key!r} of {where}: shared memory is shut on this server")
            if key != "shared_memory_region":
                _integer(holder.parameters, key, BYTE_COUNTS)
    return holder.parameters


def _integer(parameters: Any, key: str, allowed: range) -> None:
    value = parameters[key]
    if value.WhichOneof("parameter_choice") != "int64_param" or value.int64_param not in allowed:
        raise Refusal(f"{key} is no int64_param from {allowed.start} to {allowed.stop - 1}")
