"""Whether a tensor's shape can be true, by what was sent of it.

Triton multiplies the dims of a shape in 64 bits: [1, 2**61] of INT64 is a tensor of no bytes to it (2.51).
"""

from collections.abc import Sequence

SIZES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""Datatype -> bytes of an element; text (BYTES) has none."""
TEXT = "BYTES"
TEXT_HEAD = 4
"""Bytes before each text, which say how long it is."""
MAX_RANK = 32
"""NumPy's, in Triton's Python backend."""
MAX_TENSORS = 1000
"""Of inputs, and of outputs, in one request."""
MAX_ELEMENTS = 2**40
"""Also of a shape with a zero in it, which says nothing of its other dims."""


class Refusal(ValueError):
    """A request that does not reach the server; the text says why."""


def elements(name: str, datatype: str, shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has.

    Raises:
        Refusal: The datatype is none, or the shape is none that fits into memory.
    """
    if datatype not in SIZES and datatype != TEXT:
        raise Refusal(f"input {name!r} has datatype {datatype[:20]!r}, allowed are {', '.join(SIZES)}, {TEXT}")
    if len(shape) > MAX_RANK:
        raise Refusal(f"input {name!r} has {len(shape)} dims, at most {MAX_RANK} are allowed")
    whole = count = 1
    for dim in shape:
        if dim < 0:
            raise Refusal(f"input {name!r} has a dim of {dim}, a request states all of them, from 0")
        count *= dim
        whole *= max(dim, 1)
        if whole > MAX_ELEMENTS:
            raise Refusal(f"input {name!r} has a shape of more than {MAX_ELEMENTS} elements")
    return count


def check_bytes(name: str, datatype: str, shape: Sequence[int], sent: int) -> None:
    """Raise a `Refusal` where a tensor of this shape cannot have `sent` bytes."""
    count = elements(name, datatype, shape)
    if datatype == TEXT:
        if not TEXT_HEAD * count <= sent:
            raise Refusal(f"input {name!r} has {count} texts by its shape, which {sent} bytes cannot hold")
    elif sent != (expected := SIZES[datatype] * count):
        raise Refusal(f"input {name!r} has {expected} bytes by its shape {_shown(shape)}, {sent} were sent")


def check_count(name: str, datatype: str, shape: Sequence[int], sent: int, *, exactly: bool) -> None:
    """Raise a `Refusal` where `sent` elements, or at most so many, cannot be those of this shape."""
    count = elements(name, datatype, shape)
    if count > sent or (exactly and count < sent):
        raise Refusal(f"input {name!r} has {count} elements by its shape {_shown(shape)}, {sent} at most were sent")


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape[:8]))}{', ...' if len(shape) > 8 else ''}]"
