"""What goes on the wire and what is read from it, of every type that can be served."""

import json
import struct

import grpc
import numpy as np
import pytest

from loadtest.golden import Golden
from loadtest.wire import _array, _http_outputs, _refused, pack

ARRAYS: dict[str, np.ndarray] = {
    "BOOL": np.array([[True, False]]),
    "UINT64": np.array([[2**64 - 1, 0]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "FP16": np.array([[np.inf, np.nan]], np.float16),
    "FP32": np.empty((1, 0), np.float32),
    "BYTES": np.array([["Käse", ""]], dtype=object),
}
KAESE = struct.pack("<I", 5) + "Käse".encode() + struct.pack("<I", 0)


def golden(name: str, array: np.ndarray) -> Golden:
    return Golden(f"model_{name}_{array.size}", "1", {"x": array}, {"y": array}, {}, "")


@pytest.mark.parametrize("name", ARRAYS)
def test_both_protocols_carry_type_shape_and_bytes(name: str) -> None:
    array = ARRAYS[name]
    raw = KAESE if name == "BYTES" else array.tobytes()
    message = pack("grpc", golden(name, array), [0])
    assert (message.inputs[0].datatype, list(message.inputs[0].shape)) == (name, list(array.shape))
    assert message.raw_input_contents[0] == raw
    packed = pack("http", golden(name, array), [0])
    length = int(packed.lengths.rsplit(b"Inference-Header-Content-Length: ", 1)[1])
    body = packed.body
    (described,) = json.loads(body[:length])["inputs"]
    assert (described["datatype"], described["shape"]) == (name, list(array.shape))
    assert body[length:] == raw


def test_no_text_at_all_is_sent_as_nothing() -> None:
    array = np.empty((1, 0), dtype=object)
    assert pack("grpc", golden("none", array), [0]).raw_input_contents[0] == b""
    assert b'"binary_data_size":0' in pack("http", golden("none", array), [0]).body


@pytest.mark.parametrize("name", ARRAYS)
def test_an_answer_is_read_back(name: str) -> None:
    array = ARRAYS[name]
    raw = KAESE if name == "BYTES" else array.tobytes()
    output = {"name": "y", "datatype": name, "shape": array.shape, "parameters": {"binary_data_size": len(raw)}}
    header = json.dumps({"outputs": [output]}).encode()
    for got in (_array(name, raw, array.shape), _http_outputs(header + raw, len(header))["y"]):
        assert got.shape == array.shape
        if name == "BYTES":
            assert [word.decode() for word in got.flat] == ["Käse", ""]
        else:
            np.testing.assert_array_equal(got, array)


class Told(grpc.RpcError):
    """What gRPC raises, without a call."""

    def __init__(self, code: str, says: str) -> None:
        self.code = lambda: grpc.StatusCode[code]
        self.details = lambda: says


@pytest.mark.parametrize(
    ("code", "says", "refused"),
    [
        ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", True),
        ("UNAVAILABLE", "Request timeout expired", True),
        ("UNAVAILABLE", "timeout of the corresponding sequence has been expired", True),
        ("RESOURCE_EXHAUSTED", "too many connections", True),
        ("UNAVAILABLE", "Socket closed", False),
        ("INVALID_ARGUMENT", "maximum queue size", False),
    ],
)
def test_a_refusal_is_told_from_a_connection_that_broke(code: str, says: str, refused: bool) -> None:
    assert _refused(Told(code, says)) == refused
