"""The client's HTTP body is tritonclient's, byte for byte, and its gRPC message is tritonclient's, field for field."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import np_to_triton_dtype

from clients.address import Address
from clients.calls import Inference, Inferred, Question, Sending
from clients.deadline import Deadline
from clients.errors import ClientError, Overloaded, Refused, Unreachable
from clients.step import Step
from clients.transports import grpc_message, http_message

KINDS = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ml_dtypes.bfloat16]
TEXTS = np.array([[b"a", "Käse".encode()], [b"nul\0", b""]], object)
NUMBERS = {f"in_{np.dtype(kind).name}": np.arange(6).reshape(2, 3).astype(kind) for kind in KINDS}
INPUTS: list[dict[str, np.ndarray]] = [
    NUMBERS,
    {"text": TEXTS, "ü": np.zeros((2, 0), np.float32), "none": np.empty((0, 2), object)},
    {
        "x": np.asfortranarray(NUMBERS["in_float32"]),
        "every other": np.arange(12, dtype=np.int64).reshape(2, 6)[:, ::-2],
    },
]
PRIORITY = 2
STEPS = [None, Step(7, start=True, end=False), Step("mine", start=False, end=True)]


class Stopped(Deadline):
    """With 1.5 s left, whenever it is asked."""

    def left(self) -> float:
        return 1.5


def sending(protocol: Any, inputs: dict[str, np.ndarray], step: Step | None) -> Sending:
    request = Inference("model", "2", inputs, {"all": 0, "best": 3}, step, PRIORITY)
    return Sending(Address(protocol, "host:1"), request, Stopped(1.5))


def theirs(api: Any, inputs: dict[str, np.ndarray]) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs as tritonclient's objects."""
    made = [
        api.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in inputs.items()
    ]
    return made, [api.InferRequestedOutput("all"), api.InferRequestedOutput("best", class_count=3)]


def options(step: Step | None) -> dict[str, Any]:
    return {"sequence_id": step.id, "sequence_start": step.start, "sequence_end": step.end} if step else {}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_the_body_is_byte_for_byte_that_of_tritonclient(inputs: dict[str, np.ndarray], step: Step | None) -> None:
    made, asked = theirs(tritonclient.http, inputs)
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body(
        made, outputs=asked, priority=PRIORITY, timeout=1_500_000, **options(step)
    )
    own = http_message.written(sending("http", inputs, step))
    assert own.body is not None
    assert own.body.replace(rb"\u00fc", rb"\u00FC") == body  # rapidjson's digits are capitals
    assert own.headers["Inference-Header-Content-Length"] == str(json_size)
    assert own.path == "/v2/models/model/versions/2/infer"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_the_message_is_that_of_tritonclient(inputs: dict[str, np.ndarray], step: Step | None) -> None:
    made, asked = theirs(tritonclient.grpc, inputs)
    defaults = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    expected = _get_inference_request(
        "model", made, "2", "", asked, priority=PRIORITY, timeout=1_500_000, parameters=None, **defaults | options(step)
    )
    method, message = grpc_message.written(sending("grpc", inputs, step))
    assert (method, message) == ("ModelInfer", expected)


def answer(arrays: dict[str, np.ndarray], **changes: Any) -> tuple[bytes, bytes]:
    """A server's answer: what of it is JSON, and the tensors behind it."""
    raw = {name: array.tobytes() for name, array in arrays.items()}
    outputs = [
        {
            "name": name,
            "datatype": np_to_triton_dtype(array.dtype),
            "shape": list(array.shape),
            "parameters": {"binary_data_size": len(raw[name])},
        }
        | changes
        for name, array in arrays.items()
    ]
    header = json.dumps({"model_version": "9", "outputs": outputs}).encode()
    return header, b"".join(raw.values())


def test_answers_are_read_whatever_their_order_and_alignment() -> None:
    arrays = {
        "odd": np.ones((1, 3), np.int8),
        "best": np.full((1, 2), 2.5),
        "all": np.arange(3, dtype=np.float32)[None],
    }
    read = http_message.read(sending("http", NUMBERS, None), 200, *answer(arrays))
    assert isinstance(read, Inferred)
    assert (list(read.outputs), read.version) == (["all", "best"], "9")
    for name, array in read.outputs.items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
        assert array.flags.aligned


@pytest.mark.parametrize(
    "changes", [{"datatype": "FP128"}, {"shape": [5]}, {"shape": None}, {"parameters": {"binary_data_size": 10**9}}, {}]
)
def test_a_wrong_answer_is_never_taken_for_one(changes: dict[str, Any]) -> None:
    arrays = {"all": np.ones(3, np.float32)} | ({"best": np.ones(3, np.float32)} if changes else {})
    body, tensors = answer(arrays, **changes)
    request = sending("http", NUMBERS, None)
    for read in (
        http_message.read(request, 200, body, tensors),
        http_message.read(request, 200, body, tensors[:-1]),
        http_message.read(request, 200, body + tensors),
        http_message.read(request, 200, body[:-1], tensors),
        http_message.read(request, 200, b"", tensors),
    ):
        assert isinstance(read, Unreachable)
        assert "does not speak KServe v2 over HTTP" in str(read)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words", "not_run"),
    [
        (503, b'{"error":"Exceeds maximum queue size"}', Overloaded, "no room .*: Exceeds maximum queue size", True),
        (503, b"<html>", Overloaded, "no room .* HTTP 503", True),
        (429, b"", Overloaded, "no room .* HTTP 429", True),
        (502, b"<html>", Unreachable, "broke .*HTTP 502", False),
        (504, b"<html>", Unreachable, "broke .*HTTP 504", False),
        (400, b'{"error":"bad\\nshape"}', Refused, "^bad shape$", False),
        (500, b'{"error":"died"}', Refused, "^died$", False),
        (401, b"<html>", Refused, "does not let this client in: HTTP 401", False),
        (413, b"<html>", Refused, "takes no request of this size: HTTP 413; send fewer", False),
        (404, b"<html>", Unreachable, "does not speak KServe", False),
        (200, b"<html>", Unreachable, "does not speak KServe", False),
    ],
)
def test_a_status_has_a_meaning(status: int, body: bytes, kind: type, words: str, not_run: bool) -> None:
    read = http_message.read(sending("http", NUMBERS, None), status, body)
    assert type(read) is kind
    assert isinstance(read, ClientError)
    assert read.not_run is not_run
    with pytest.raises(kind, match=words):
        raise read


def test_a_header_stays_one_header() -> None:
    request = http_message.HttpRequest("GET", "/v2", {"X-Team": "shells"})
    assert request.head("[::1]:8000") == (
        b"GET /v2 HTTP/1.1\r\nHost: [::1]:8000\r\nAccept-Encoding: identity\r\nX-Team: shells\r\n\r\n"
    )
    for value in ("shells\r\nX-Other: 1", "a\nb", "sch\u00e4le"):
        with pytest.raises(ClientError, match=r"each on one line; they are: .*X-Team"):
            http_message.HttpRequest("GET", "/v2", {"X-Team": value}).head("a:1")
    base = Sending(Address("http", "a:1/b c"), Question("ready"), Deadline(1))
    assert http_message.written(base).path == "/b%20c/v2/health/ready"
