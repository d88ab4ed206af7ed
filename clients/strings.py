"""Text in arrays: any kind that NumPy has of it becomes the bytes that a server takes, and those what a file keeps.

KServe's BYTES are byte strings of any length; Triton's ONNX Runtime backends take and give them as UTF-8.
"""

import numpy as np

from clients.errors import UnwritableOutput, WrongTensor

TEXT_KINDS = "USOT"  # str, bytes, objects, and NumPy 2's strings of variable width
LARGEST_FILE = 1 << 30  # bytes; a .npy file pads every text to the longest


def encoded(array: np.ndarray, where: str) -> np.ndarray:
    """An array of text, of any of NumPy's kinds, as an array of `bytes` objects of the same shape; others as they are.

    A NumPy `S` array has lost the NUL bytes at the end of its items.

    Raises:
        WrongTensor: An item is neither `str` nor `bytes`, or no UTF-8 can be made of it; `where` names the tensor.
    """
    if array.dtype.kind not in TEXT_KINDS:
        return array
    return _objects([_bytes(item, where) for item in array.ravel().tolist()], array.shape)


def storable(array: np.ndarray, where: str) -> np.ndarray:
    """An array of `bytes` objects as one that a .npy file keeps without pickle: `U`, or `S` where they are not UTF-8;
    others as they are.

    Raises:
        UnwritableOutput: An item ends in NUL, which NumPy would drop, or the file would be larger than `LARGEST_FILE`.
    """
    if array.dtype.kind != "O":
        return array
    texts = decoded(array)
    width = 4 if texts and isinstance(texts[0], str) else 1
    size = width * len(texts) * max(map(len, texts), default=0)
    if size > LARGEST_FILE:
        raise UnwritableOutput(
            f"{where}: a .npy file pads every text to the longest, which is {size / 2**30:.1f} GiB here, at most "
            f"{LARGEST_FILE / 2**30:g} GiB is written; send fewer items at once, or use the library: clients.connect"
        )
    kept = np.array(texts, dtype=str if width == 4 else bytes).reshape(array.shape)
    if kept.ravel().tolist() != texts:
        raise UnwritableOutput(
            f"{where}: a text ends in a NUL byte, which a .npy file drops; use the library: clients.connect"
        )
    return kept


def decoded(array: np.ndarray) -> list[str] | list[bytes]:
    """The items of an array of `bytes` objects in order: as text where all of them are UTF-8, else as they are."""
    items: list[bytes] = array.ravel().tolist()
    try:
        return [item.decode() for item in items]
    except UnicodeDecodeError:
        return items


def readable(array: np.ndarray) -> np.ndarray:
    """An array to be shown: its text, where it holds UTF-8."""
    return _objects(decoded(array), array.shape) if array.dtype.kind == "O" else array


def _bytes(item: object, where: str) -> bytes:
    if isinstance(item, bytes):
        return bytes(item)  # NumPy's own bytes would be sent as their repr
    if not isinstance(item, str):
        raise WrongTensor(f"{where} holds {item!r} of type {type(item).__name__}, allowed are str and bytes")
    try:
        return item.encode()
    except UnicodeEncodeError as error:
        raise WrongTensor(f"{where} holds {item!r}, of which UTF-8 cannot be made ({error.reason})") from error


def _objects(items: list[str] | list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)
