"""Arrays to bytes and back, as KServe's binary data: little-endian, the last axis fastest, BYTES with their lengths.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from clients.errors import WrongTensor
from clients.strings import TEXT_KINDS, encoded


def prepared(value: Any, dtype: str, where: str) -> np.ndarray:
    """What a caller gave for an input of KServe's type `dtype`, as an array of that type in native byte order.

    An array keeps its own type, which `TensorSpec.check` judges. Lists and numbers have none: they become the model's,
    where that loses nothing. `where` names the tensor.

    Raises:
        WrongTensor: It is None, ragged, masked, holds None or numbers that the type cannot, or text that is no UTF-8.
    """
    if value is None:
        raise WrongTensor(f"{where} is None, needed is an array")
    if isinstance(value, np.ma.MaskedArray):
        raise WrongTensor(f"{where} is a masked array, and the server knows no masks; fill it: array.filled(value)")
    typed = isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")
    array = np.asarray(value) if typed else _untyped(value, dtype, where)
    if array.dtype.kind in TEXT_KINDS:
        return encoded(array, where)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def kserve_dtype(array: np.ndarray) -> str:
    """KServe's name of an array's type, or else NumPy's."""
    return _kserve_name(array.dtype)


def raw(array: np.ndarray) -> bytes:
    """The bytes of an array in native byte order, of any layout; text as `bytes` objects."""
    if array.dtype.kind != "O":
        return array.tobytes()
    # Of no text at all tritonclient makes an array without an element.
    return serialize_byte_tensor(array).item() if array.size else b""


def from_raw(data: memoryview | bytes, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """The array of `dtype` and `shape` in `data`: a read-only view of it, where its address allows.

    Raises ValueError for data of another length or a dtype that KServe does not have.
    """
    kind = numpy_type(dtype)
    if kind is None:
        raise ValueError(f"no such type: {dtype}")
    if dtype == "BYTES":
        return _texts(bytes(data), shape)
    array = np.frombuffer(data, kind).reshape(tuple(shape))
    return array if array.flags.aligned else array.copy()


def empty(dtype: str, shape: Sequence[int]) -> np.ndarray:
    """An array without elements; axes of any size (-1) are 0 long."""
    return np.empty([max(size, 0) for size in shape], triton_to_np_dtype(dtype))


@functools.cache
def _kserve_name(dtype: np.dtype) -> str:
    return str(np_to_triton_dtype(dtype) or dtype)


@functools.lru_cache(100)  # a server may name any
def numpy_type(name: str) -> Any:
    """NumPy's type of a KServe name, None for a name that is none."""
    return triton_to_np_dtype(name)


def _texts(data: bytes, shape: Sequence[int]) -> np.ndarray:
    try:
        items = deserialize_bytes_tensor(data)
    except Exception as error:  # struct.error, where a length points behind the end
        raise ValueError("text that is cut off") from error
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(tuple(shape))


def _untyped(value: Any, dtype: str, where: str) -> np.ndarray:
    """Lists, tuples, numbers and texts, which have no NumPy type of their own."""
    try:
        # NumPy's own bytes lose the NULs at their ends; and it would make text of numbers among text.
        array = np.array(value, object if dtype == "BYTES" else None)
    except (ValueError, TypeError, OverflowError) as error:
        raise WrongTensor(f"{where} is no rectangle of numbers: {error}") from error
    if dtype == "BYTES" or array.dtype.kind in TEXT_KINDS:
        if array.dtype.kind == "O" and any(item is None for item in array.ravel().tolist()):
            raise WrongTensor(f"{where} holds None, allowed are values of type {dtype}")
        return array
    wanted = np.dtype(triton_to_np_dtype(dtype))
    cast = _lossless(array, wanted)
    if cast is None:
        raise WrongTensor(f"{where} holds numbers that {dtype} does not: give an array of the type that is meant")
    return cast


def _lossless(array: np.ndarray, wanted: np.dtype) -> np.ndarray | None:
    """`array` as `wanted`, or None where that would change a number; a fraction may be rounded to a shorter float."""
    kind, target = array.dtype.kind, "f" if wanted.name == "bfloat16" else wanted.kind
    if array.size == 0 or kind == target == "b":
        return array.astype(wanted)
    if kind == "f" and target == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(wanted)
        return cast if (np.isfinite(cast.astype(float)) | ~np.isfinite(array)).all() else None
    if kind not in "iu" or target not in "iuf":
        return None
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
    numbers = cast.astype(float) if target == "f" else cast
    # Compared as Python's own numbers: NumPy compares uint64 and int64 as floats.
    same = np.isfinite(numbers).all() and list(map(int, numbers.ravel().tolist())) == array.ravel().tolist()
    return cast if same else None
