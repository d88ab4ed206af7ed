"""What the guard's filter lets through and what it stops, without a server."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from serving.guard import grpc_messages
from serving.guard.json_requests import MAX_DEPTH, check_inference, read
from serving.guard.tensors import Refusal
from tests.support.hostile.over_grpc import infer

X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
BINARY = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
SHARED = {"shared_memory_region": "r", "shared_memory_byte_size": 16, "shared_memory_offset": 0}


def without(tensor: dict[str, Any], *keys: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key not in keys} | more


LET_THROUGH = {
    "data": ([X], 0),
    "nested data": ([without(X, data=[[[1, 2], [3, 4]]])], 0),
    "text": ([without(X, datatype="BYTES", data=["a[[[", '"', "\\", "ü"])], 0),
    "binary": ([BINARY], 16),
    "both": ([X, BINARY], 16),
    "empty": ([without(X, shape=[0, 4], data=[])], 0),
    "binary text": ([without(BINARY, datatype="BYTES", shape=[1, 2], parameters={"binary_data_size": 11})], 11),
    "nothing": ([], 0),
    "integers of 64 bits": ([without(X, datatype="UINT64", data=[2**64 - 1] * 4)], 0),
}
STOPPED = {
    "no shape": ([without(X, "shape")], 0, "has no shape"),
    "a shape of truths": ([without(X, shape=[True, 4])], 0, "has no shape"),
    "a shape of fractions": ([without(X, shape=[1.0, 4])], 0, "has no shape"),
    "a negative dim": ([without(X, shape=[-1, 4])], 0, "a dim of -1"),
    "2**60": ([without(X, shape=[1, 2**60])], 0, "more than 1099511627776 elements"),
    "2**64 bytes": ([without(X, datatype="INT64", shape=[1, 2**61])], 0, "more than"),
    "beside a zero": ([without(X, shape=[0, 2**61])], 0, "more than"),
    "many dims": ([without(X, shape=[1] * 33)], 0, "33 dims, at most 32"),
    "more elements than characters": ([without(X, shape=[1000, 1000])], 0, "1000000 elements by its shape"),
    "no datatype": ([without(X, "datatype")], 0, "has no datatype"),
    "a datatype that is none": ([without(X, datatype="FP31")], 0, "datatype 'FP31', allowed are BOOL, .*BYTES"),
    "no name": ([without(X, "name")], 0, "has no name"),
    "no data": ([without(X, "data")], 0, "has no data"),
    "data that is no list": ([without(X, data="1234")], 0, "has no data"),
    "data twice": ([without(X, parameters={"binary_data_size": 16})], 16, "one of them is needed"),
    "binary that is not there": ([BINARY], 0, "have 16 bytes by their binary_data_size, behind the JSON were sent 0"),
    "binary that nobody has": ([X], 16, "have 0 bytes"),
    "binary of another shape": ([without(BINARY, shape=[1, 5])], 16, r"20 bytes by its shape \[1, 5\], 16 were sent"),
    "a negative size": ([without(BINARY, parameters={"binary_data_size": -1})], 0, "binary_data_size of 'x' is -1"),
    "too many texts": ([without(BINARY, datatype="BYTES", shape=[5])], 16, "5 texts by its shape"),
    "shared memory": ([without(X, "data", parameters=SHARED)], 0, "shared memory is shut"),
    "parameters that are none": ([without(X, parameters=[1])], 0, "is no JSON object"),
    "a parameter that is a list": ([without(X, parameters={"a": [1]})], 0, "is no text, number"),
    "a parameter of 65 bits": ([without(X, parameters={"a": 2**64})], 0, "which 64 bits do not hold"),
    "very many": ([X] * 1001, 0, "has 1001 inputs, at most 1000"),
    "a tensor that is none": ([1], 0, "is no JSON object"),
    "inputs that are none": ({"x": 1}, 0, "has no inputs, which is a list"),
}


@pytest.mark.parametrize("what", LET_THROUGH)
def test_json_that_is_let_through(what: str) -> None:
    inputs, binary = LET_THROUGH[what]
    assert check_inference(json.dumps({"inputs": inputs, "id": "1"}).encode(), binary).classified == ()


@pytest.mark.parametrize("what", STOPPED)
def test_json_that_is_stopped(what: str) -> None:
    inputs, binary, reason = STOPPED[what]
    with pytest.raises(Refusal, match=reason):
        check_inference(json.dumps({"inputs": inputs}).encode(), binary)


def test_shared_memory_where_it_is_open() -> None:
    there = without(X, "data", parameters=SHARED)
    text = json.dumps({"inputs": [there]}).encode()
    assert check_inference(text, 0, shared_memory=True).classified == ()
    far = without(X, "data", parameters=SHARED | {"shared_memory_offset": 2**62})
    with pytest.raises(Refusal, match=r"shared_memory_offset .* is 4611686018427387904, allowed are 0 to"):
        check_inference(json.dumps({"inputs": [far]}).encode(), 0, shared_memory=True)


def test_classes_are_told_to_whoever_knows_the_outputs() -> None:
    outputs: list[dict[str, Any]] = [{"name": "a", "parameters": {"classification": 2}}, {"name": "b"}]
    assert check_inference(json.dumps({"inputs": [X], "outputs": outputs}).encode(), 0).classified == ("a",)
    outputs[0]["parameters"] = {"classification": 0}
    with pytest.raises(Refusal, match="classification of 'a' is 0, allowed are 1 to"):
        check_inference(json.dumps({"inputs": [X], "outputs": outputs}).encode(), 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[" * 10**6, "nested deeper than 64"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper than 64"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
        (b'["' + b"[" * 100, "is not JSON"),
        (b'{"a": 1, "a": 2}', "a key that comes twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "a key that comes twice"),
        (b"NaN", "NaN is no JSON"),
        (b"[1e5, -Infinity]", "Infinity is no JSON"),
        (b"1" * 5000, "is not JSON"),
        (b'{"a": 1} x', "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8"),
        (b"", "is not JSON"),
    ],
)
def test_json_that_is_none_or_too_deep(text: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        read(text)


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.text(alphabet='[]{}"\\,a'), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.text(alphabet='[]{}"\\'), inner, max_size=3), max_leaves=20))  # fmt: skip
def test_brackets_in_texts_are_not_counted(document: Any) -> None:
    assert read(json.dumps(document).encode()) == document


def test_the_deepest_that_is_let_through() -> None:
    assert read(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def message(**tensor: Any) -> Any:
    return infer(**tensor)


def with_contents(count: int) -> Any:
    found = infer(raw=None)
    found.inputs[0].contents.fp32_contents.extend([1.0] * count)
    return found


def with_parameter(key: str, value: int, where: str = "inputs") -> Any:
    found = infer()
    if where == "outputs":
        found.outputs.add(name="t")
    getattr(found, where)[0].parameters[key].int64_param = value
    return found


MESSAGES: dict[str, tuple[Any, str]] = {
    "raw": (message(), ""),
    "contents": (with_contents(4), ""),
    "text": (message(datatype="BYTES", raw=bytes(16)), ""),
    "no inputs": (service_pb2.ModelInferRequest(model_name="x"), ""),
    "2**61": (message(datatype="INT64", shape=[1, 2**61], raw=b""), "more than 1099511627776 elements"),
    "2**61 without data": (message(datatype="INT64", shape=[1, 2**61], raw=None), "more than"),
    "a negative dim": (message(shape=[1, -4]), "a dim of -4"),
    "too short": (message(raw=bytes(12)), r"16 bytes by its shape \[1, 4\], 12 were sent"),
    "too few contents": (with_contents(3), "4 elements by its shape"),
    "too many contents": (with_contents(5), "4 elements by its shape"),
    "no data": (message(raw=None), "4 elements by its shape"),
    "a datatype that is none": (message(datatype="FP31"), "datatype 'FP31'"),
    "shared memory": (with_parameter("shared_memory_offset", 0), "shared memory is shut"),
    "no classes": (with_parameter("classification", 0, "outputs"), "classification is no int64_param from 1 to"),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_messages(what: str) -> None:
    found, reason = MESSAGES[what]
    data = found.SerializeToString()
    if not reason:
        assert grpc_messages.check_inference(grpc_messages.read(service_pb2.ModelInferRequest, data)) == ()
        return
    with pytest.raises(Refusal, match=reason):
        grpc_messages.check_inference(grpc_messages.read(service_pb2.ModelInferRequest, data))


def test_messages_with_data_in_two_places_or_of_nobody() -> None:
    both, more = infer(), infer()
    both.inputs[0].contents.fp32_contents.append(1.0)
    more.raw_input_contents.append(b"")
    less = infer()
    less.inputs.add(name="y", datatype="FP32")
    many = infer()
    for _ in range(1001):
        many.outputs.add(name="y")
    for found, reason in {
        "1001 outputs, at most 1000": many,
        "one of them is needed": both,
        "more raw_input": more,
        "no raw_input_contents, others": less,
    }.items():
        with pytest.raises(Refusal, match=found):
            grpc_messages.check_inference(reason)


def test_what_goes_on_has_no_fields_that_nobody_knows() -> None:
    data = infer().SerializeToString()
    unknown = b"\xfa\x01\x03abc"  # field 31
    assert grpc_messages.read(service_pb2.ModelInferRequest, data + unknown).SerializeToString() == data
    with pytest.raises(Refusal, match="is no ModelInferRequest"):
        grpc_messages.read(service_pb2.ModelInferRequest, b"\xff" * 20)
