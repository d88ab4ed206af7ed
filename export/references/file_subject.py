"""What an ONNX file is proven on: its tensors, the sizes of their open axes, and values made up or given.

Axis 0 of the examples of a file without a batch counts items, as in golden.npz; it is run on one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from conch.contracts.errors import ConchError
from conch.contracts.npz import read_arrays
from export.modules.module_spec import DEFAULT_SIZES, default_range, open_axes, parse_inputs, parse_sizes
from export.modules.module_values import FEWEST_ROWS, SEED, random_examples
from export.modules.taken import ROWS
from export.references.indices import index_ranges
from export.references.matching import Shape
from export.references.onnx_file import OnnxFile
from serving.onnx_files.trial_inputs import WORDS
from training.tensors import Tensor, Tolerance

Arrays = dict[str, np.ndarray]

LARGEST_BATCH = 32
"""Where nobody says another."""
MOST_BYTES = 2**31
"""Of made-up inputs: more than this is no test, and may be more than the machine has."""
TEXT = "object"
"""What ONNX Runtime's text is in NumPy."""


@dataclass(frozen=True)
class FileSubject:
    """An ONNX file under proof."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: Mapping[str, np.ndarray]
    real_examples: int | None
    largest_batch: int
    sizes: Mapping[str, tuple[int, ...]]
    rows: int
    """So many of the examples were made or given; behind, they begin again."""
    single: bool = False
    """The given inputs are one item, without an axis that counts items."""
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)

    @property
    def batched(self) -> bool:
        """Whether axis 0 of every tensor is the batch."""
        return self.largest_batch > 0


@dataclass(frozen=True)
class Asked:
    """What the command line says of the inputs."""

    specs: Sequence[str] = ()
    """`--input`, where ranges or the names of axes matter."""
    sizes: Sequence[str] = ()
    inputs_from: Path | None = None
    max_batch: int | None = None
    """The most rows of a batch; 0 for none, None finds out whether there is one."""


def subject_of(file: OnnxFile, asked: Asked, batched: bool, narrowed: Mapping[str, Shape] | None = None) -> FileSubject:
    """The file with inputs to prove it on; the axes of its outputs are left to who sees an answer.

    Args:
        file: the file.
        asked: of the command line.
        batched: whether the first axis of every input is the batch.
        narrowed: by input, the reference's shape, whose fixed sizes are kept.

    Raises:
        ConchError: what was asked does not fit the file.
    """
    specs, ranges = _specs(file, asked.specs, batched), index_ranges(file.inspected.model)
    inputs = tuple(
        specs.get(slot.name) or _tensor(slot.name, slot.dtype or "", slot.shape or (), batched,
                                        (narrowed or {}).get(slot.name), ranges.get(slot.name))
        for slot in file.inputs
    )  # fmt: skip
    largest = (asked.max_batch or LARGEST_BATCH) if batched else 0
    outputs = tuple(Tensor(slot.name, slot.dtype or "", ()) for slot in file.outputs)
    if asked.inputs_from is None:
        axes = open_axes(inputs, batched)
        sizes = dict.fromkeys(axes, DEFAULT_SIZES) | parse_sizes(asked.sizes, axes)
        examples = _made_up(inputs, sizes, largest)
        rows = len(next(iter(examples.values()), ()))
        return FileSubject(file.path.stem, inputs, outputs, examples, 0, largest, sizes, rows)
    given, single = _given(file, asked.inputs_from, batched)
    sizes = _sizes_of(given, inputs, asked.sizes, batched)
    rows = len(next(iter(given.values())))
    index = np.arange(max(largest, rows)) % rows
    examples = {name: array[index] for name, array in given.items()}
    return FileSubject(file.path.stem, inputs, outputs, examples, None, largest, sizes, rows, single)


def _tensor(
    name: str, dtype: str, shape: Shape, batched: bool, narrowed: Shape | None, last_index: int | None
) -> Tensor:
    axes: list[int | str] = []
    for place, size in enumerate(shape):
        other = narrowed[place] if narrowed else None
        open_size = ROWS if size == "batch" else size or f"{name}_{place}"
        axes.append(other if isinstance(other, int) and not isinstance(size, int) else open_size)
    low, high = (0.0, 1.0) if dtype == TEXT else default_range(dtype)
    if last_index is not None:
        low, high = 0, last_index
    return Tensor(name, dtype, ("batch", *axes[1:]) if batched else tuple(axes), low, high)


def _specs(file: OnnxFile, texts: Sequence[str], batched: bool) -> dict[str, Tensor]:
    """The tensors of `--input`; each has to be one of the file's."""
    slots = {slot.name: slot for slot in file.inputs}
    found = parse_inputs(texts, batched)
    for text, spec in zip(texts, found, strict=True):
        slot = slots.get(spec.name)
        if slot is None:
            raise ConchError(f"--input {text}: the file's inputs are {', '.join(map(str, file.inputs))}")
        if slot.dtype != spec.dtype or not _narrows(spec.shape, slot.shape or ()):
            raise ConchError(f"--input {text}: the file's is {slot}")
    return {spec.name: spec for spec in found}


def _narrows(spec: Shape, shape: Shape) -> bool:
    """Whether a shape is one that the file takes."""
    return len(spec) == len(shape) and all(
        got == want or not isinstance(want, int) for got, want in zip(spec, shape, strict=True)
    )


def _sizes_of(
    given: Arrays, inputs: Sequence[Tensor], texts: Sequence[str], batched: bool
) -> dict[str, tuple[int, ...]]:
    """Sizes of the open axes of given inputs: those asked for; else the usual ones that they have room for."""
    axes = open_axes(inputs, batched)
    asked = parse_sizes(texts, axes)
    sizes: dict[str, tuple[int, ...]] = {}
    for axis in axes:
        lengths = {
            given[tensor.name].shape[place]
            for tensor in inputs
            for place, name in enumerate(tensor.shape, start=0 if batched else 1)
            if name == axis
        }
        if len(lengths) > 1:
            raise ConchError(f"--inputs-from: the axis {axis} is {sorted(lengths)}; it has to be the same everywhere")
        (length,) = lengths
        if axis in asked and asked[axis][-1] > length:
            raise ConchError(f"--inputs-from: the axis {axis} is {length}, --sizes asks for {asked[axis][-1]}")
        usual = tuple(sorted({size for size in DEFAULT_SIZES if size < length} | {length}))
        sizes[axis] = asked.get(axis, usual)
    return sizes


def _given(file: OnnxFile, path: Path, batched: bool) -> tuple[Arrays, bool]:
    """The arrays of `--inputs-from` with an axis of rows or items in front, and whether that had to be added.

    Raises:
        ConchError: they are not the file's inputs by name, dtype and shape.
    """
    arrays = read_arrays(path, "--inputs-from")
    wanted = {slot.name: slot for slot in file.inputs}
    if arrays.keys() != wanted.keys():
        raise ConchError(
            f"--inputs-from {path} has the arrays {', '.join(sorted(arrays)) or 'none'}, the file's inputs are "
            f"{', '.join(map(str, file.inputs))}"
        )
    single = not batched and all(array.ndim == len(wanted[name].shape or ()) for name, array in arrays.items())
    items = {name: array[np.newaxis] if single else array for name, array in arrays.items()}
    rows = {len(array) if array.ndim else 0 for array in items.values()}
    if len(rows) != 1 or 0 in rows:
        raise ConchError(f"--inputs-from {path}: each array needs the same number of rows, at least 1")
    for name, array in items.items():
        slot = wanted[name]
        if array.dtype.name != slot.dtype or not _narrows(array.shape[0 if batched else 1 :], slot.shape or ()):
            raise ConchError(
                f"--inputs-from {path}: {name} is {array.dtype} {list(arrays[name].shape)}, the file's is {slot}"
                f"{'' if batched else ', or items of that'}"
            )
    return items, single


def _made_up(inputs: Sequence[Tensor], sizes: Mapping[str, tuple[int, ...]], largest: int) -> Arrays:
    items = max(largest, FEWEST_ROWS)
    extent = {axis: allowed[-1] for axis, allowed in sizes.items()} | ({"batch": items} if largest else {})
    shapes = {t.name: [extent[size] if isinstance(size, str) else size for size in t.shape] for t in inputs}
    shapes = shapes if largest else {name: [items, *shape] for name, shape in shapes.items()}
    needed = sum(float(np.prod(shapes[t.name])) * np.dtype(t.dtype).itemsize for t in inputs)
    if needed > MOST_BYTES:
        raise ConchError(
            f"made-up inputs of {items} rows would take {needed / 2**30:.1f} GiB; use a smaller --max-batch, "
            "--sizes AXIS=..., or real ones: --inputs-from"
        )
    made = random_examples(tuple(tensor for tensor in inputs if tensor.dtype != TEXT), sizes, largest)
    draw = np.random.default_rng(SEED)
    for tensor in inputs:
        if tensor.dtype == TEXT:
            shape = shapes[tensor.name]
            made[tensor.name] = np.asarray(draw.choice(np.array(WORDS, dtype=object), shape), object).reshape(shape)
    return {tensor.name: made[tensor.name] for tensor in inputs}
