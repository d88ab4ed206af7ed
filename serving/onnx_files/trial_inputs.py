"""Inputs to try an ONNX model of unknown origin with: generated from its declared types and shapes, or given."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import ServingError

Arrays = dict[str, np.ndarray]

SEED = 0
# Tried in turn for every axis of open length: a convolution needs some pixels, a table some rows, a sum any.
SIZES = (8, 1, 2, 3, 4, 16, 32, 64, 224)
MOST_ELEMENTS = 4_000_000
WORDS = ("conch", "shell", "Käse", "two words", "")

VALUES = ("random", "zeros and ones", "ones", "zeros")
"""Tried in turn: what is an index, a shape or a repetition does not run on any number."""

DTYPES = {
    "tensor(bool)": "bool",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "object",
}


@dataclass(frozen=True)
class Maker:
    """Makes a model's inputs of one kind: arrays by name, for any batch size where the first axis is the batch."""

    described: str
    """What the inputs are, for the manifest."""
    inputs: tuple[Any, ...]
    """What `InferenceSession.get_inputs` tells."""
    values: str = "random"
    size: int = SIZES[0]
    given: Mapping[str, np.ndarray] | None = None

    def make(self, rows: int | None) -> Arrays:
        """The inputs of a batch of `rows`; None for a model without a batch axis."""
        if self.given is not None:
            return {name: array if rows is None else _repeat(array, rows) for name, array in self.given.items()}
        draw = np.random.default_rng(SEED)
        shapes = _shapes(self.inputs, self.size, rows)
        return {t.name: _fill(draw, self.values, dtype_of(t.type), shapes[t.name]) for t in self.inputs}

    def fits_memory(self, rows: int | None) -> bool:
        """Whether generated inputs of `rows` are small enough to try."""
        shapes = _shapes(self.inputs, self.size, rows)
        return self.given is not None or sum(int(np.prod(shape)) for shape in shapes.values()) <= MOST_ELEMENTS


def makers(inputs: tuple[Any, ...], given: Mapping[str, np.ndarray] | None) -> Iterator[Maker]:
    """The given inputs alone, or every kind of generated ones."""
    if given is not None:
        yield Maker("given", inputs, given=given)
        return
    open_axes = any(not isinstance(size, int) for tensor in inputs for size in tensor.shape)
    for values in VALUES:
        for size in SIZES if open_axes else SIZES[:1]:
            described = f"generated, {values}, seed {SEED}" + (f", open axes {size}" if open_axes else "")
            yield Maker(described, inputs, values, size)


def dtype_of(kind: str) -> str:
    """NumPy's name of an ONNX Runtime type such as `tensor(float)`."""
    return DTYPES.get(kind, kind.removeprefix("tensor(").removesuffix(")"))


def read_inputs(path: Path, inputs: tuple[Any, ...]) -> Arrays:
    """Arrays by input name from an .npz file.

    Raises:
        ServingError: It cannot be read, or its arrays are not the model's inputs by name, type and number of axes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ServingError(
            f"{path} is no readable .npz file ({error}); make one: numpy.savez(path, NAME=array, ...)"
        ) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # any zip file opens as one
        raise ServingError(f"{path} is no readable .npz file; make one: numpy.savez(path, NAME=array, ...)")
    wanted = {tensor.name: tensor for tensor in inputs}
    if arrays.keys() != wanted.keys():
        raise ServingError(f"{path} has the arrays {sorted(arrays)}, the model's inputs are {sorted(wanted)}")
    for name, tensor in wanted.items():
        dtype = dtype_of(tensor.type)
        if dtype == "object" and arrays[name].dtype.kind == "U":
            arrays[name] = arrays[name].astype(object)
        got = arrays[name]
        sizes_agree = got.ndim == len(tensor.shape) and all(
            not isinstance(want, int) or want == size for want, size in zip(tensor.shape, got.shape, strict=True)
        )
        if got.dtype != np.dtype(dtype) or not sizes_agree or (got.ndim and len(got) == 0 and tensor.shape[0] != 0):
            raise ServingError(
                f"{path}: {name!r} is {got.dtype} {list(got.shape)}, the model's input is {dtype} {tensor.shape}"
            )
    return arrays


def _repeat(array: np.ndarray, rows: int) -> np.ndarray:
    """The first `rows` of `array`, from its beginning again where it has fewer."""
    return array[np.arange(rows) % len(array)]


def _shapes(inputs: tuple[Any, ...], size: int, rows: int | None) -> dict[str, tuple[int, ...]]:
    """By input name, open axes set to `size`, or to `rows` where they are the batch; equal names, equal sizes."""
    batch_names = {tensor.shape[0] for tensor in inputs} - {None} if rows is not None else set()

    def length(axis: int, declared: int | str | None) -> int:
        if isinstance(declared, int):
            return declared
        return rows if rows is not None and (axis == 0 or declared in batch_names) else size

    return {t.name: tuple(length(axis, declared) for axis, declared in enumerate(t.shape)) for t in inputs}


def _fill(draw: np.random.Generator, values: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "object":
        return np.asarray(draw.choice(np.array(WORDS, dtype=object), shape), dtype=object).reshape(shape)
    if values in ("ones", "zeros"):
        return np.full(shape, values == "ones", dtype)
    if values == "zeros and ones" or dtype == "bool":
        return draw.integers(0, 2, shape).astype(dtype)
    if np.dtype(dtype).kind == "f":
        return draw.standard_normal(shape).astype(dtype)
    bounds = np.iinfo(dtype)
    low, high = (bounds.min, bounds.max) if bounds.bits == 8 else (0, 9)
    return draw.integers(low, high, shape, np.dtype(dtype).type, endpoint=True)
