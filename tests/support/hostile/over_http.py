"""Hostile requests over HTTP/1.1, for a server of the models of `tests.support.hostile.models`."""

import gzip
import json
import random
import struct
from functools import cache
from typing import Any

from tests.support.hostile.attack import Attack, Maker
from tests.support.hostile.models import BIG_DIMS, SHAPES

VALID: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
TOKENS: dict[str, Any] = {"name": "tokens", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request's bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def infer(model: str, document: object, *headers: str) -> bytes:
    """An inference request."""
    return post(f"/v2/models/{model}/infer", json.dumps(document).encode(), *headers)


def _attack(kind: str, *pieces: bytes, pause: float = 0.0, patience: float = 1.0) -> Attack:
    return Attack(kind, "http", pieces, pause, patience)


def brackets(rng: random.Random) -> Attack:
    """Up to a million of them."""
    body = rng.choice([b"[", b'{"a":', b"[[],"]) * int(10 ** rng.uniform(3, 6))
    return _attack("brackets", post(rng.choice(["/v2/models/affine/infer", "/v2/repository/index"]), body[: 4 * 10**6]))


def nested_data(rng: random.Random) -> Attack:
    """Tensors nested up to 50,000 deep."""
    depth = int(10 ** rng.uniform(2, 4.7))
    data = "[" * depth + "1" + "]" * depth
    body = f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,4],"data":{data}}}]}}'
    return _attack("nested data", post("/v2/models/affine/infer", body.encode()))


def lying_shape(rng: random.Random) -> Attack:
    """Of JSON: dims of up to 2**63 and their products."""
    tensor = TOKENS | {"shape": rng.choice(SHAPES)(rng), "data": rng.choice([[], [1], [1, 2], [[1, 2]], None])}
    return _attack("lying shape", infer("lengths", {"inputs": [tensor]}))


def lying_binary(rng: random.Random) -> Attack:
    """Binary tensors of which the JSON says other lengths."""
    size = rng.choice([0, 8, 16, 2**31, 2**61 * 8, -1, 2**63])
    tensor = {key: TOKENS[key] for key in ("name", "datatype")}
    tensor |= {"shape": rng.choice(SHAPES)(rng), "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    stated = rng.choice([len(head), len(head) - 3, len(head) + 9, 0, -1, 2**31, 2**63, 10**30])
    body = head + rng.randbytes(rng.choice([0, 8, 16, 5000]))
    return _attack(
        "lying binary size",
        post("/v2/models/lengths/infer", body, f"Inference-Header-Content-Length: {stated}"),
    )


def lying_length(rng: random.Random) -> Attack:
    """Bodies longer or shorter than their Content-Length, or with two of them."""
    body = json.dumps(VALID).encode()
    stated = rng.choice([0, 10, len(body) + 5, 10**6, 2**31, 2**40, 2**64])
    extra = rng.choice([[], [f"Content-Length: {len(body)}"], ["Transfer-Encoding: chunked"], ["Expect: 100-continue"]])
    return _attack("lying length", post("/v2/models/affine/infer", body, *extra, length=stated), patience=0.3)


def chunks(rng: random.Random) -> Attack:
    """Up to 600,000 of one byte each."""
    count = int(10 ** rng.uniform(2, 5.78))
    head = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    byte = rng.choice([b" ", b"[", b"1"])
    part = (b"1\r\n" + byte + b"\r\n") * min(count, 10000)
    return _attack("one-byte chunks", head, *([part] * max(1, count // 10000)), b"0\r\n\r\n")


@cache
def _bomb(spaces: int) -> bytes:
    return gzip.compress(b" " * spaces, 9, mtime=0)


def bomb(rng: random.Random) -> Attack:
    """A body that unpacks to up to 256 MB."""
    body = _bomb(rng.choice([10**6, 2**24, 2**28]))
    return _attack("gzip bomb", post("/v2/models/affine/infer", body, "Content-Encoding: gzip"))


def too_large(rng: random.Random) -> Attack:
    """Bodies over the limit, announced and unannounced."""
    if rng.random() < 0.9:
        return _attack("too large", post("/v2/models/affine/infer", b"[" * 1000, length=rng.choice([2**25, 2**40])))
    head = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _attack("too large", head, *([b"100000\r\n" + b" " * 2**20 + b"\r\n"] * 18))


def headers(rng: random.Random) -> Attack:
    """Many, long, doubled or broken ones."""
    found = {
        0: [f"X-{n}: {'a' * 50}" for n in range(rng.choice([200, 2000]))],
        1: ["X: " + "a" * rng.choice([9000, 200000])],
        2: ["Inference-Header-Content-Length: 5", "Inference-Header-Content-Length: 70"],
        3: [rng.randbytes(40).decode("latin-1").replace("\n", "")],
    }[rng.randrange(4)]
    return _attack("headers", infer("affine", VALID, *found))


def shut_paths(rng: random.Random) -> Attack:
    """What is for operators, and other writings of it."""
    path = rng.choice([
        "/v2/repository/models/affine/unload", "/v2/repository/models/affine/load", "/v2/logging",
        "/v2/systemsharedmemory/region/r/register", "/v2/cudasharedmemory/unregister", "/v2/trace/setting",
        "/v2/models/affine/infer/../../../repository/models/affine/unload", "//v2/repository/models/affine/unload",
        "/v2/repository/models/affine%2funload", "/v2/repository/./models/affine/unload", "/v2/models/affine/generate",
        "/v2/repository/models/affine/unload?x=/v2/models/affine/infer", "/v2/models/..%2f..%2flogging", "/%00", "*",
    ])  # fmt: skip
    body = rng.choice([{}, {"parameters": {"config": "{}"}}, {"key": "/dev/shm/r", "offset": 2**62, "byte_size": 8}])
    return _attack("shut paths", post(path, json.dumps(body).encode()))


def shared_memory(rng: random.Random) -> Attack:
    """Tensors that are said to lie there, at an offset of up to 2**62."""
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 16, "shared_memory_offset": 2**62}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": parameters}
    return _attack("shared memory", infer("affine", {"inputs": [tensor]}))


def classes(rng: random.Random) -> Attack:
    """Classes of an output of text."""
    tensor = {"name": "s", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}
    output = {"name": "t", "parameters": {"classification": rng.choice([1, 3, 0, -1, 2**40])}}
    return _attack("classes of text", infer("text", {"inputs": [tensor], "outputs": [output]}))


def texts(rng: random.Random) -> Attack:
    """Binary texts that lie about their length."""
    raw = struct.pack("<I", rng.choice([0, 1, 2**31, 2**32 - 1])) + rng.randbytes(rng.randrange(5))
    tensor = {"name": "s", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return _attack(
        "lying texts", post("/v2/models/text/infer", head + raw, f"Inference-Header-Content-Length: {len(head)}")
    )


def many(rng: random.Random) -> Attack:
    """Inputs or outputs by the ten thousand."""
    count, key = int(10 ** rng.uniform(2, 4.5)), rng.choice(["inputs", "outputs"])
    return _attack("many tensors", infer("affine", VALID | {key: VALID["inputs"] * count}))


def mutated(rng: random.Random) -> Attack:
    """A valid request with bytes changed, taken away and doubled."""
    body = bytearray(json.dumps(VALID).encode())
    for _ in range(rng.randrange(1, 6)):
        at, length = rng.randrange(len(body)), rng.randrange(1, 8)
        body[at : at + length] = rng.choice([b"", rng.randbytes(length), body[at : at + length] * 3, b"-9e999", b'"'])
    return _attack("mutated JSON", post("/v2/models/affine/infer", bytes(body)))


def doubled(rng: random.Random) -> Attack:
    """Keys that come twice, of which two readers may take different ones."""
    bad = f'"shape":[1,{rng.choice(BIG_DIMS)}]'
    pair = [bad, '"shape":[1,2]']
    rng.shuffle(pair)
    body = f'{{"inputs":[{{"name":"tokens","datatype":"INT64",{pair[0]},{pair[1]},"data":[1,2]}}]}}'
    return _attack("doubled keys", post("/v2/models/lengths/infer", body.encode()))


def garbage(rng: random.Random) -> Attack:
    """Bytes that are no HTTP, or TLS, or HTTP/2."""
    return _attack("garbage", rng.choice([rng.randbytes(300), b"\x16\x03\x01" + rng.randbytes(200), b"GET " * 5000]))


def broken_off(rng: random.Random) -> Attack:
    """Requests that are left in the middle, or whose answers nobody takes."""
    whole = infer("affine", VALID)
    if rng.random() < 0.5:
        return _attack("broken off", whole[: rng.randrange(len(whole))], patience=0.05)
    return _attack("broken off", whole * rng.randrange(1, 20), patience=0.001)


def slow(rng: random.Random) -> Attack:
    """A request by the letter."""
    whole = infer("affine", VALID)
    return _attack("slow", *(whole[n : n + 1] for n in range(20)), pause=0.05, patience=0.1)


MAKERS: tuple[Maker, ...] = (
    brackets, nested_data, lying_shape, lying_binary, lying_length, chunks, bomb, too_large, headers, shut_paths,
    shared_memory, classes, texts, many, mutated, doubled, garbage, broken_off, slow,
)  # fmt: skip
