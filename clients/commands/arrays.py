"""A model's inputs from files: .npy, .npz, JSON and text, told by what is in them, so that a pipe needs no name."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from clients.commands.exit_codes import BadCommand
from clients.commands.sources import STANDARD_INPUT, read_bytes, told
from clients.errors import UnreadableInput, WrongTensor
from clients.signature import Metadata, TensorSpec

NPY, NPZ = b"\x93NUMPY", b"PK"
PYTHON: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float), "O": (str,)}
"""What JSON has for the types of NumPy of a kind; `True` is no number."""


def read_inputs(words: Iterable[str], metadata: Metadata) -> dict[str, np.ndarray]:
    """The arrays of `--input`: NAME=FILE for one of the model's inputs, FILE alone for all of them; FILE may be `-`.

    Raises BadCommand, UnreadableInput, and WrongTensor for numbers in JSON that the input's type has not.
    """
    sources = [_name_and_path(word) for word in words]
    if sum(path == STANDARD_INPUT for _, path in sources) > 1:
        raise BadCommand("--input: the standard input, -, can be read once")
    specs = {spec.name: spec for spec in metadata.inputs}
    found: dict[str, np.ndarray] = {}
    for name, path in sources:
        content = read_bytes(path)
        read = _all_of(content, path, metadata) if name is None else {name: array_of(content, path, specs.get(name))}
        if twice := sorted(set(read) & set(found)):
            raise BadCommand(f"--input: {twice[0]} is given twice")
        found |= read
    return found


def _name_and_path(word: str) -> tuple[str | None, Path]:
    name, separator, path = word.partition("=")
    if not separator:
        return None, Path(word)
    if not (name and path):
        raise BadCommand(f"--input {word}: expected NAME=FILE, or FILE with all inputs")
    return name, Path(path)


def _all_of(content: bytes, path: Path, metadata: Metadata) -> dict[str, np.ndarray]:
    """All inputs by name: of a .npz file, or of JSON, as an object of lists or a KServe request. A model with one input
    takes anything that is an array, too."""
    specs = {spec.name: spec for spec in metadata.inputs}
    if content.startswith(NPZ):
        with (
            _reading(path, ".npz file of numbers or strings"),
            np.load(io.BytesIO(content), allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}
    if isinstance(document := _json(content), dict):
        lists = _of_request(document["inputs"], path) if _is_request(document) else document
        return {name: _of_lists(value, path, specs.get(name)) for name, value in lists.items()}
    if len(specs) > 1:
        raise UnreadableInput(
            f"{told(path)} is neither .npz nor a JSON object, which have all inputs by name: {', '.join(specs)}; "
            "a file with one of them is NAME=FILE"
        )
    return {name: array_of(content, path, spec) for name, spec in specs.items()}


def array_of(content: bytes, path: Path, spec: TensorSpec | None) -> np.ndarray:
    """One array from what a file at `path` holds; without a `spec` the model has no such input, which is told later.

    Raises UnreadableInput, and WrongTensor for numbers in JSON that the type has not.
    """
    if content.startswith(NPY):
        with _reading(path, ".npy file of numbers or strings"):
            return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    if content.startswith(NPZ):
        raise UnreadableInput(f"{told(path)} holds several arrays by name; give it as --input {path}, without a name")
    if isinstance(document := _json(content), list):
        return _of_lists(document, path, spec)
    if spec and spec.dtype == "BYTES":
        return _of_lines(content, path, spec)
    raise UnreadableInput(
        f"{told(path)} is no .npy file and no JSON list" + (", and text is for inputs of BYTES" if spec else "")
    )


def _of_lines(content: bytes, path: Path, spec: TensorSpec) -> np.ndarray:
    """A line an item, each of one text."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{told(path)} is no UTF-8 ({error.reason} at byte {error.start})") from error
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    return np.array(lines, dtype=object).reshape(-1, *[1] * (len(spec.shape) - 1))


def _of_lists(value: Any, path: Path, spec: TensorSpec | None) -> np.ndarray:
    """Nested lists of JSON in the type of `spec`, where each value is one of that type; without one, as they are."""
    where = f"{told(path)}" + (f", input {spec.name!r}" if spec else "")
    try:
        array = np.array(value, object)  # of Python's own numbers, which lose nothing
    except ValueError as error:
        raise UnreadableInput(f"{where}: the lists are no rectangle") from error
    if spec is None:
        return array
    wanted = np.dtype(triton_to_np_dtype(spec.dtype))
    low, high = (np.iinfo(wanted).min, np.iinfo(wanted).max) if wanted.kind in "iu" else (None, None)
    for item in array.ravel().tolist():
        if type(item) not in PYTHON[wanted.kind] or (low is not None and not low <= item <= high):
            raise WrongTensor(f"{where}: {item!r} is no {spec.dtype}, allowed is {spec}")
    return array.astype(wanted)


def _is_request(document: Mapping[str, Any]) -> bool:
    entries = document.get("inputs")
    return isinstance(entries, list) and bool(entries) and all(isinstance(entry, dict) for entry in entries)


def _of_request(entries: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    """Of a request in KServe's JSON, whose data may be flat, the lists by name."""
    try:
        return {entry["name"]: np.array(entry["data"], object).reshape(entry["shape"]).tolist() for entry in entries}
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableInput(f"{told(path)} is no KServe request: each input has name, shape and data") from error


def _json(content: bytes) -> Any:
    """The document; None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, MemoryError, BadZipFile) as error:
        if "Object arrays" in str(error):
            raise UnreadableInput(
                f"{told(path)} holds Python objects, which only pickle can read; save text as strings: "
                "array.astype(str)"
            ) from error
        raise UnreadableInput(f"{told(path)} is no {kind}, or a broken one") from error
