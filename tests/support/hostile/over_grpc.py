"""Hostile requests over gRPC, as frames of HTTP/2.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK: names and values are sent as they are, without a table), grpc/grpc
doc/PROTOCOL-HTTP2.md.
"""

import gzip
import random
import struct
from functools import cache
from typing import Any

from tritonclient.grpc import service_pb2

from tests.support.hostile.attack import Attack, Maker
from tests.support.hostile.models import SHAPES

SERVICE = "/inference.GRPCInferenceService/"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = struct.pack(">I", 8)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: str, *more: tuple[str, str]) -> bytes:
    """A block of headers of a call."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "h"), ("te", "trailers")]
    pairs += [("content-type", "application/grpc"), *more]
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def _text(value: str) -> bytes:
    data = value.encode("latin-1")
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, found = len(data) - 127, bytearray([127])
    while rest >= 128:
        found.append(rest % 128 | 128)
        rest //= 128
    return bytes(found) + bytes([rest]) + data


def message(data: bytes, length: int | None = None, flag: int = 0) -> bytes:
    """With gRPC's five bytes before it."""
    return bytes([flag]) + struct.pack(">I", len(data) if length is None else length) + data


def call(method: str, body: bytes, *more: tuple[str, str], stream: int = 1) -> bytes:
    """The frames of one call whose body is `body`."""
    frames = frame(HEADERS, END_HEADERS, stream, headers(method if method[0] == "/" else SERVICE + method, *more))
    parts = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
    frames += b"".join(frame(DATA, 0, stream, part) for part in parts[:-1])
    return frames + frame(DATA, END_STREAM, stream, parts[-1])


def opening() -> bytes:
    """What a client begins with."""
    return PREFACE + frame(SETTINGS, 0, 0)


def infer(
    model: str = "affine", name: str = "x", datatype: str = "FP32", shape: Any = (1, 4), raw: Any = bytes(16)
) -> Any:
    """A request, as protobuf's message; without `raw` it has no data."""
    found = service_pb2.ModelInferRequest(model_name=model)
    found.inputs.add(name=name, datatype=datatype).shape.extend(shape)
    if raw is not None:
        found.raw_input_contents.append(raw)
    return found


def _attack(kind: str, *frames: bytes, patience: float = 1.0) -> Attack:
    return Attack(kind, "grpc", (opening() + frames[0], *frames[1:]), patience=patience)


def _asked(kind: str, request: Any, method: str = "ModelInfer", *more: tuple[str, str]) -> Attack:
    return _attack(kind, call(method, message(request.SerializeToString()), *more))


def lying_shape(rng: random.Random) -> Attack:
    """Dims of up to 2**63, with and without data."""
    shape = rng.choice(SHAPES)(rng)
    request = infer("lengths", "tokens", "INT64", shape, rng.choice([b"", bytes(8), bytes(16), None]))
    if not request.raw_input_contents and rng.random() < 0.5:
        request.inputs[0].contents.int64_contents.extend([1, 2])
    return _asked("lying shape", request, rng.choice(["ModelInfer", "ModelStreamInfer"]))


def lying_contents(rng: random.Random) -> Attack:
    """Data of another type, twice, or of nobody."""
    request = infer(datatype=rng.choice(["FP32", "BYTES", "INT8", "FP16", "BF16", "x" * 1000, ""]))
    request.inputs[0].contents.bytes_contents.append(rng.randbytes(5))
    request.raw_input_contents.append(rng.randbytes(rng.randrange(20)))
    return _asked("lying contents", request)


def many(rng: random.Random) -> Attack:
    """Inputs or outputs by the hundred thousand."""
    request, key = infer(), rng.choice(["inputs", "outputs"])
    for _ in range(int(10 ** rng.uniform(2, 5))):
        getattr(request, key).add(name="doubled")
    return _asked("many tensors", request)


def mutated(rng: random.Random) -> Attack:
    """A valid message with bytes changed."""
    request = infer()
    request.parameters["sequence_id"].int64_param = rng.randrange(2**40)
    request.outputs.add(name="doubled")
    data = bytearray(request.SerializeToString())
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data))] + rng.randbytes(rng.randrange(50))
    return _attack("mutated protobuf", call(rng.choice(["ModelInfer", "ModelStreamInfer"]), message(bytes(data))))


def groups(rng: random.Random) -> Attack:
    """Groups in groups, a field that nobody knows."""
    depth = rng.choice([50, 101, 10000, 10**6])
    return _attack("nested groups", call("ModelInfer", message(b"\xfb\x01" * depth + b"\xfc\x01" * depth)))


def lying_frame(rng: random.Random) -> Attack:
    """A message longer or shorter than it says."""
    data = infer().SerializeToString()
    length = rng.choice([0, 3, len(data) + 1, 2**24, 2**31, 2**32 - 1])
    return _attack("lying message length", call("ModelInfer", message(data, length)), patience=0.3)


@cache
def _bomb(zeros: int) -> bytes:
    return gzip.compress(bytes(zeros), 9, mtime=0)


def compressed(rng: random.Random) -> Attack:
    """A message that unpacks to 100 MB, or says that it is packed and is not."""
    data = _bomb(rng.choice([10**6, 10**8])) if rng.random() < 0.2 else infer().SerializeToString()
    encoding = rng.choice([[("grpc-encoding", "gzip")], [("grpc-encoding", "x")], []])
    return _attack("compressed messages", call("ModelInfer", message(data, flag=1), *encoding))


def deadlines(rng: random.Random) -> Attack:
    """Valid calls that are to be answered within 5 ms or less, as many as a connection has room for."""
    data, count = message(infer().SerializeToString()), rng.randrange(1, 60)
    frames = [
        call("ModelInfer", data, ("grpc-timeout", rng.choice(["1n", "50u", "1m", "5m"])), stream=2 * n + 1)
        for n in range(count)
    ]
    return _attack("tiny deadlines", b"".join(frames), patience=0.2)


def cancelled(rng: random.Random) -> Attack:
    """Valid calls that are called off, at once or while they run."""
    data, count = message(infer().SerializeToString()), rng.randrange(1, 60)
    calls = b"".join(call("ModelInfer", data, stream=2 * n + 1) for n in range(count))
    resets = b"".join(frame(RST, 0, 2 * n + 1, CANCEL) for n in range(count))
    if rng.random() < 0.3:
        return _attack("cancelled calls", calls, patience=0.003)  # by breaking the connection off
    return Attack("cancelled calls", "grpc", (opening() + calls, resets), rng.choice([0, 0.001, 0.005]), 0.1)


def rapid_reset(rng: random.Random) -> Attack:
    """Streams that are opened and reset, a thousand of them."""
    block = headers(SERVICE + "ServerLive")
    frames = b"".join(
        frame(HEADERS, END_HEADERS, 2 * n + 1, block) + frame(RST, 0, 2 * n + 1, CANCEL) for n in range(1000)
    )
    return _attack("rapid reset", frames, patience=0.2)


def floods(rng: random.Random) -> Attack:
    """Thousands of frames that cost the sender nothing."""
    one = {
        0: frame(SETTINGS, 0, 0), 1: frame(PING, 0, 0, bytes(8)), 2: frame(WINDOW, 0, 0, struct.pack(">I", 2**31 - 1)),
        3: frame(CONTINUATION, 0, 1, headers("/")), 4: frame(DATA, 0, 1), 5: frame(200, 255, 7, b"x"),
    }[rng.randrange(6)]  # fmt: skip
    return _attack("frame floods", frame(HEADERS, 0, 1, headers(SERVICE + "ServerLive")) + one * 3000, patience=0.2)


def mutated_frames(rng: random.Random) -> Attack:
    """A valid call with bytes of its frames changed."""
    frames = bytearray(call("ModelInfer", message(infer().SerializeToString())))
    for _ in range(rng.randrange(1, 8)):
        frames[rng.randrange(len(frames))] = rng.randrange(256)
    return _attack("mutated HTTP/2", bytes(frames), patience=0.2)


def large_headers(rng: random.Random) -> Attack:
    """Of up to 200 KB, and many of them."""
    more = [(f"x-{n}", "a" * rng.choice([10, 8000])) for n in range(rng.choice([1, 25]))]
    block = headers(SERVICE + "ServerLive", *more)
    parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    frames = [frame(HEADERS if n == 0 else CONTINUATION, 0, 1, part) for n, part in enumerate(parts)]
    return _attack("large headers", b"".join(frames) + frame(CONTINUATION, END_HEADERS, 1), patience=0.3)


def shut_methods(rng: random.Random) -> Attack:
    """What is for operators, and methods that are none."""
    method = rng.choice([
        "RepositoryModelUnload", "RepositoryModelLoad", "SystemSharedMemoryRegister", "CudaSharedMemoryUnregister",
        "TraceSetting", "LogSettings", "Nothing", "../ModelInfer",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ])  # fmt: skip
    request = service_pb2.RepositoryModelUnloadRequest(model_name="affine")
    return _attack("shut methods", call(method, message(request.SerializeToString())))


def shared_memory(rng: random.Random) -> Attack:
    """Tensors that are said to lie there, at an offset of up to 2**62."""
    request = infer(raw=None)
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    request.inputs[0].parameters["shared_memory_offset"].int64_param = rng.choice([2**62, -1, 0])
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = rng.choice([16, 2**62])
    return _asked("shared memory", request)


def classes(rng: random.Random) -> Attack:
    """Classes of an output of text."""
    request = infer("text", "s", "BYTES", [1, 1], b"\x01\x00\x00\x00a")
    request.outputs.add(name="t").parameters["classification"].int64_param = rng.choice([1, 3, 0, -1, 2**40])
    return _asked("classes of text", request, rng.choice(["ModelInfer", "ModelStreamInfer"]))


def streams(rng: random.Random) -> Attack:
    """Many messages on a stream that nobody reads, and that is left."""
    one = message(infer().SerializeToString())
    frames = frame(HEADERS, END_HEADERS, 1, headers(SERVICE + "ModelStreamInfer")) + frame(DATA, 0, 1, one * 100)
    return _attack("abandoned streams", frames, patience=rng.choice([0.001, 0.05, 0.2]))


MAKERS: tuple[Maker, ...] = (
    lying_shape, lying_contents, many, mutated, groups, lying_frame, compressed, deadlines, cancelled, rapid_reset,
    floods, mutated_frames, large_headers, shut_methods, shared_memory, classes, streams,
)  # fmt: skip
