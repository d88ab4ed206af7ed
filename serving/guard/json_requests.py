"""Whether the JSON of a request over HTTP is what Triton can read without harm.

Triton reads JSON by recursion, takes a shape's word for its data, and of a key that comes twice one of the two: what is
read here is read alike there, or refused.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from serving.guard.tensors import MAX_TENSORS, Refusal, check_bytes, check_count

SHARED_MEMORY = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
INTEGERS = range(-(2**63), 2**64)
BYTE_COUNTS = range(2**40)
CLASSES = range(1, 2**20)
MAX_DEPTH = 64
"""Of lists and objects in each other: a tensor of the highest rank, and what is around it."""
QUOTE = ord('"')
STEPS = np.zeros(256, np.int8)
"""Deeper and back, by character."""
STEPS[[ord("["), ord("{")]], STEPS[[ord("]"), ord("}")]] = 1, -1
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What is left to be looked up before a request may pass."""

    classified: tuple[str, ...]
    """Outputs of which classes are asked."""


def read(text: bytes) -> Any:
    """The document that `text` is.

    Raises:
        Refusal: It is not JSON in UTF-8, is nested deeper than `MAX_DEPTH`, or has a key twice.
    """
    if _is_deep(text):
        raise Refusal(f"the JSON is nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise Refusal("the JSON is not UTF-8; binary tensors need the header Inference-Header-Content-Length") from None
    except Refusal:
        raise
    except ValueError as error:  # also of numbers with thousands of digits
        raise Refusal(f"the body is not JSON: {error}") from None


def check_inference(text: bytes, binary: int, *, shared_memory: bool = False) -> Asked:
    """Check the JSON of an inference request, behind which `binary` bytes of tensors were sent.

    Args:
        text: The JSON.
        binary: Bytes behind it.
        shared_memory: Whether tensors may lie in shared memory.

    Raises:
        Refusal: It is wrong, or asks for what is shut.
    """
    document = _object(read(text), "the request")
    _check_parameters(document, "the request", shared_memory)
    sent = 0
    for tensor in _objects(document, "inputs", required=True):
        sent += _check_input(tensor, len(text), shared_memory)
    if sent != binary:
        raise Refusal(f"the inputs have {sent} bytes by their binary_data_size, behind the JSON were sent {binary}")
    return Asked(tuple(_classified(document, shared_memory)))


def _check_input(tensor: dict[str, Any], text: int, shared_memory: bool) -> int:
    """How many bytes behind the JSON are this tensor's."""
    name, datatype, shape = _name(tensor), tensor.get("datatype"), tensor.get("shape")
    if not isinstance(datatype, str):
        raise Refusal(f"input {name!r} has no datatype")
    if not isinstance(shape, list) or not all(type(dim) is int for dim in shape):
        raise Refusal(f"input {name!r} has no shape, which is a list of integers")
    parameters = _check_parameters(tensor, f"input {name!r}", shared_memory)
    if "shared_memory_region" in parameters:
        check_count(name, datatype, shape, BYTE_COUNTS.stop, exactly=False)
        return 0
    if "binary_data_size" in parameters:
        size = _integer(parameters, "binary_data_size", BYTE_COUNTS, name)
        if "data" in tensor:
            raise Refusal(f"input {name!r} has data and binary_data_size, one of them is needed")
        check_bytes(name, datatype, shape, size)
        return size
    if not isinstance(tensor.get("data"), list):
        raise Refusal(f"input {name!r} has no data, which is a list, and no binary_data_size")
    # Each element takes a character of the JSON at least: whether all are there, Triton counts itself.
    check_count(name, datatype, shape, text, exactly=False)
    return 0


def _classified(document: dict[str, Any], shared_memory: bool) -> Iterator[str]:
    for output in _objects(document, "outputs"):
        name = _name(output)
        parameters = _check_parameters(output, f"output {name!r}", shared_memory)
        if "classification" in parameters:
            _integer(parameters, "classification", CLASSES, name)
            yield name


def _check_parameters(holder: dict[str, Any], where: str, shared_memory: bool) -> dict[str, Any]:
    parameters = _object(holder.get("parameters", {}), f"the parameters of {where}")
    for key, value in parameters.items():
        if isinstance(value, list | dict) or value is None:
            raise Refusal(f"parameter {key[:60]!r} of {where} is no text, number or truth value")
        if type(value) is int and value not in INTEGERS:
            raise Refusal(f"parameter {key[:60]!r} of {where} is {value}, which 64 bits do not hold")
        if key in SHARED_MEMORY:
            if not shared_memory:
                raise Refusal(f"parameter {key!r} of {where}: shared memory is shut on this server")
            if key != "shared_memory_region":
                _integer(parameters, key, BYTE_COUNTS, where)
    return parameters


def _integer(parameters: dict[str, Any], key: str, allowed: range, where: str) -> int:
    value = parameters[key]
    if type(value) is not int or value not in allowed:
        raise Refusal(f"{key} of {where!r} is {str(value)[:40]}, allowed are {allowed.start} to {allowed.stop - 1}")
    return value


def _name(tensor: dict[str, Any]) -> str:
    name = tensor.get("name")
    if not isinstance(name, str) or len(name) > 1000:
        raise Refusal("a tensor has no name, or one of more than 1000 characters")
    return name


def _objects(document: dict[str, Any], key: str, required: bool = False) -> list[dict[str, Any]]:
    found = document.get(key, None if required else [])
    if not isinstance(found, list):
        raise Refusal(f"the request has no {key}, which is a list")
    if len(found) > MAX_TENSORS:
        raise Refusal(f"the request has {len(found)} {key}, at most {MAX_TENSORS} are allowed")
    return [_object(entry, f"an entry of {key}") for entry in found]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal(f"{what} is no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal("the JSON has an object with a key that comes twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise Refusal(f"{text} is no JSON: send such values as binary tensors")


def _is_deep(text: bytes) -> bool:
    """Without reading it, for that may not end well."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    characters = np.frombuffer(_ESCAPED.sub(b"", text) if b"\\" in text else text, np.uint8)
    outside_texts = 1 - (np.cumsum(characters == QUOTE, dtype=np.int32) & 1)
    return bool(np.cumsum(STEPS[characters] * outside_texts, dtype=np.int32).max() > MAX_DEPTH)
