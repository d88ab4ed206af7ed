"""Inputs to try an ONNX model of unknown origin with: generated from its declared types and shapes, or given."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import ServingError

Arrays = dict[str, np.ndarray]

SEED = 0
# Tried in turn for every axis of open length: a convolution needs some pixels, a table some rows, sound
# a thousand samples, a sum any.
SIZES = (8, 16, 32, 64, 224, 1024)
# Then for one axis, as that of colours, beside others of `BESIDE`; at last for every axis. A picture of one pixel runs
# where nothing else does, and shows next to nothing.
FEW = (3, 1)
BESIDE = (32, 224)
LAST = (4, 3, 2, 1)
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
    """Of every open axis but those of `few`."""
    few: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, np.ndarray] | None = None

    def make(self, rows: int | None) -> Arrays:
        """The inputs of a batch of `rows`; None for a model without a batch axis."""
        if self.given is not None:
            return {name: array if rows is None else _repeat(array, rows) for name, array in self.given.items()}
        draw = np.random.default_rng(SEED)
        shapes = self._shapes(rows)
        return {t.name: _fill(draw, self.values, dtype_of(t.type), shapes[t.name]) for t in self.inputs}

    def fits_memory(self, rows: int | None) -> bool:
        """Whether generated inputs of `rows` are small enough to try."""
        shapes = self._shapes(rows)
        return self.given is not None or sum(int(np.prod(shape)) for shape in shapes.values()) <= MOST_ELEMENTS

    @property
    def doubt(self) -> str:
        """Why these inputs show next to nothing; "" where they may show something."""
        if self.given is not None:
            return ""
        inner = any(not isinstance(size, int) for tensor in self.inputs for size in tensor.shape[1:])
        if inner and self.size < SIZES[0]:
            return f"it runs on open axes of no more than {self.size} alone"
        if self.values in ("ones", "zeros"):
            return f"it runs on nothing but {self.values}"
        return ""

    def is_larger(self, other: "Maker") -> bool:
        """Whether it makes the same as another, but longer in every open axis."""
        return (self.values, self.few) == (other.values, other.few) and self.size > other.size

    def _shapes(self, rows: int | None) -> dict[str, tuple[int, ...]]:
        """By input name, open axes of their size, or of `rows` where they are the batch; equal names, equal sizes."""
        batches = {_axis(tensor, 0) for tensor in self.inputs if tensor.shape} if rows is not None else set()

        def length(axis: int | str) -> int:
            if isinstance(axis, int):
                return axis
            return rows if rows is not None and axis in batches else self.few.get(axis, self.size)

        return {t.name: tuple(length(_axis(t, place)) for place in range(len(t.shape))) for t in self.inputs}


def makers(inputs: tuple[Any, ...], given: Mapping[str, np.ndarray] | None) -> Iterator[Maker]:
    """The given inputs alone, or every kind of generated ones."""
    if given is not None:
        yield Maker("given", inputs, given=given)
        return
    # In order, and each once: tensors share an axis by its name.
    every = dict.fromkeys(_axis(tensor, place) for tensor in inputs for place in range(len(tensor.shape)))
    axes = [axis for axis in every if isinstance(axis, str)]
    sizes: list[tuple[int, dict[str, int]]] = [(size, {}) for size in (SIZES if axes else SIZES[:1])]
    if len(axes) > 1:
        sizes += [(beside, {axis: few}) for axis in axes for few in FEW for beside in BESIDE]
        # A batch that has to be 1, beside colours: the first axis comes first.
        sizes += [(beside, {axes[0]: 1, axis: few}) for axis in axes[1:] for few in FEW for beside in BESIDE]
    sizes += [(size, {}) for size in (LAST if axes else ())]
    for size, few in sizes:
        for values in VALUES:
            told = [f"open axes {size}", *(f"{axis} {number}" for axis, number in few.items())] if axes else []
            yield Maker(", ".join((f"generated, {values}, seed {SEED}", *told)), inputs, values, size, few)


def dtype_of(kind: str) -> str:
    """NumPy's name of an ONNX Runtime type such as `tensor(float)`."""
    return DTYPES.get(kind, kind.removeprefix("tensor(").removesuffix(")"))


def read_arrays(path: Path) -> Arrays:
    """The arrays of an .npz file. Raises ServingError where it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ServingError(
            f"{path} is no readable .npz file ({error}); make one: numpy.savez(path, NAME=array, ...)"
        ) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # any zip file opens as one
        raise ServingError(f"{path} is no readable .npz file; make one: numpy.savez(path, NAME=array, ...)")
    return arrays


def check_inputs(arrays: Arrays, path: Path, inputs: tuple[Any, ...]) -> Arrays:
    """The arrays of a file, text as objects.

    Raises:
        ServingError: They are not the model's inputs by name, type and number of axes.
    """
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


def _axis(tensor: Any, place: int) -> int | str:
    """The size of an axis, or the name of one that is open."""
    declared = tensor.shape[place]
    return f"axis {place} of {tensor.name}" if declared is None else declared


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
