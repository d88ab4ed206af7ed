"""What of an ONNX file the proof needs to know: its tensors, what it is run on, and whether its first axis is a batch.

A file without a batch is run item by item: the first axis of its subject counts items, as in golden.npz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from conch.contracts.errors import ConchError
from conch.contracts.npz import read_arrays
from export.modules.module_served import random_examples
from export.modules.module_spec import default_range, parse_input
from export.references.indices import index_ranges
from export.references.matching import Shape, Slot
from serving.onnx_files.inspection import Inspected, inspect_onnx
from serving.onnx_files.signature import Tensor as FileTensor
from serving.onnx_files.signature import open_session, session_signature
from serving.onnx_files.trial_inputs import WORDS, dtype_of
from serving.repository.configuration import graph_config
from training.score import Predict
from training.tensors import Tensor, Tolerance

Arrays = dict[str, np.ndarray]

ITEMS = 3
"""Items that a file without a batch is run on, one by one."""
MOST_BYTES = 2**31
"""Of made-up inputs: more than this is no test, and may be more than the machine has."""


@dataclass(frozen=True)
class OnnxFile:
    """A file that is sound and that ONNX Runtime loads."""

    path: Path
    inspected: Inspected
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]

    @property
    def called(self) -> str:
        """Its name in messages."""
        return self.path.name


@dataclass(frozen=True)
class FileSubject:
    """An ONNX file under proof."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: Mapping[str, np.ndarray]
    random_examples: bool
    largest_batch: int
    sizes: Mapping[str, tuple[int, ...]]
    batched: bool
    rows: int
    """So many of the examples are distinct; they begin again behind."""
    single: bool = False
    """The given inputs are one item, without an axis that counts items."""
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What the command line says of the inputs."""

    specs: Sequence[str] = ()
    """`--input`, where ranges or the names of axes matter."""
    sizes: Sequence[str] = ()
    inputs_from: Path | None = None
    largest_batch: int = 32


def open_file(path: Path) -> OnnxFile:
    """Inspect and load a file, before anything of it is run.

    Raises:
        ServingError: it cannot be served: damaged, of unknown operators, of types that Triton does not have.
    """
    inspected = inspect_onnx(path, path.stem)
    session = open_session(path, str(path))
    signature = session_signature(session, inspected.model)
    graph_config(signature, path.stem, 0)
    return OnnxFile(path, inspected, _slots(signature.inputs), _slots(signature.outputs))


def _slots(tensors: Sequence[FileTensor]) -> tuple[Slot, ...]:
    return tuple(Slot(tensor.name, dtype_of(tensor.type), tensor.shape) for tensor in tensors)


def room_for_a_batch(file: OnnxFile, other: Sequence[Shape | None] = ()) -> bool:
    """Whether the first axis of every input and output is open, of the file and of the reference."""
    shapes = [slot.shape for slot in (*file.inputs, *file.outputs)] + [shape for shape in other if shape is not None]
    return bool(file.inputs) and all(shape and not isinstance(shape[0], int) for shape in shapes)


def subject_of(file: OnnxFile, asked: Asked, batched: bool, narrowed: Mapping[str, Shape]) -> FileSubject:
    """The file with inputs to prove it on; its outputs as long as nobody has seen them.

    Args:
        file: the file.
        asked: of the command line.
        batched: whether the first axis of every input is the batch.
        narrowed: by input, the reference's shape, whose fixed sizes are kept.

    Raises:
        ConchError: what was asked does not fit the file.
    """
    single = False
    given: Arrays | None = None
    if asked.inputs_from:
        given, single = _given(file, asked.inputs_from, batched)
    ranges = index_ranges(file.inspected.model)
    specs = _specs(file, asked.specs, batched)
    inputs = tuple(_tensor(slot, batched, narrowed.get(slot.name), ranges, specs) for slot in file.inputs)
    sizes = _sizes(asked.sizes, inputs, given)
    largest = asked.largest_batch if batched else ITEMS
    if given is None:
        examples = _made_up(inputs, sizes, largest)
        rows = len(next(iter(examples.values()), ()))
    else:
        rows = len(next(iter(given.values())))
        index = np.arange(max(largest, rows)) % rows
        examples = {name: array[index] for name, array in given.items()}
    outputs = tuple(Tensor(slot.name, slot.dtype or "", ("batch",)) for slot in file.outputs)
    return FileSubject(file.path.stem, inputs, outputs, examples, given is None, largest, sizes, batched, rows, single)


def one_by_one(predict: Predict) -> Predict:
    """Run a program without a batch on items [items, ...], one after the other."""

    def items(inputs: Mapping[str, np.ndarray]) -> Arrays:
        count = len(next(iter(inputs.values())))
        answers = [predict({name: array[item] for name, array in inputs.items()}) for item in range(count)]
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}

    return items


def _tensor(
    slot: Slot, batched: bool, narrowed: Shape | None, ranges: Mapping[str, int], specs: Mapping[str, Tensor]
) -> Tensor:
    assert slot.dtype is not None
    assert slot.shape is not None
    if slot.name in specs:
        spec = specs[slot.name]
        return spec if batched else Tensor(spec.name, spec.dtype, ("batch", *spec.shape), spec.low, spec.high)
    axes: list[int | str] = []
    for place, size in enumerate(slot.shape):
        other = narrowed[place] if narrowed else None
        axes.append(other if isinstance(other, int) and not isinstance(size, int) else size or f"{slot.name}_{place}")
    shape = ("batch", *axes[1:]) if batched else ("batch", *axes)
    low, high = (0.0, 1.0) if slot.dtype == "object" else default_range(slot.dtype)
    if slot.name in ranges:
        low, high = 0, ranges[slot.name]
    return Tensor(slot.name, slot.dtype, shape, low, high)


def _specs(file: OnnxFile, texts: Sequence[str], batched: bool) -> dict[str, Tensor]:
    """The tensors of `--input`; each has to be one of the file's."""
    found: dict[str, Tensor] = {}
    slots = {slot.name: slot for slot in file.inputs}
    for text in texts:
        spec = parse_input(text, batched)
        slot = slots.get(spec.name)
        if slot is None:
            raise ConchError(f"--input {text}: the file's inputs are {', '.join(map(str, file.inputs))}")
        if slot.dtype != spec.dtype or not _narrows(spec.shape, slot.shape or ()):
            raise ConchError(f"--input {text}: the file's is {slot}")
        found[spec.name] = spec
    return found


def _narrows(spec: Shape, shape: Shape) -> bool:
    """Whether a declared shape is one that the file takes."""
    return len(spec) == len(shape) and all(
        got == want or not isinstance(want, int) for got, want in zip(spec, shape, strict=True)
    )


def _sizes(texts: Sequence[str], inputs: Sequence[Tensor], given: Arrays | None) -> dict[str, tuple[int, ...]]:
    """Sizes of the open axes: those asked for; else the usual ones, of given inputs those that they have room for."""
    from export.modules.module_spec import parse_sizes

    asked = {text.partition("=")[0] for text in texts}
    sizes = parse_sizes(texts, tuple(inputs))
    if given is None:
        return sizes
    for axis, usual in sizes.items():
        lengths = {
            given[tensor.name].shape[place]
            for tensor in inputs
            for place, name in enumerate(tensor.shape)
            if name == axis
        }
        if len(lengths) > 1:
            raise ConchError(f"--inputs-from: the axis {axis} is {sorted(lengths)}; it has to be the same everywhere")
        (length,) = lengths
        if axis in asked and usual[-1] > length:
            raise ConchError(f"--inputs-from: the axis {axis} is {length}, --sizes asks for {usual[-1]}")
        if axis not in asked:
            sizes[axis] = tuple(sorted({size for size in usual if size < length} | {length}))
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
    if single:
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    for name, array in arrays.items():
        slot = wanted[name]
        items = array if batched else array[0] if array.ndim and len(array) else array
        if array.dtype.name != slot.dtype or not _narrows(items.shape, slot.shape or ()):
            raise ConchError(
                f"--inputs-from {path}: {name} is {array.dtype} {list(array.shape[1:] if single else array.shape)}, "
                f"the file's is {slot}{'' if batched else ', or items of that'}"
            )
    rows = {len(array) for array in arrays.values()}
    if len(rows) != 1 or 0 in rows:
        raise ConchError(f"--inputs-from {path}: each array needs the same number of rows, at least 1")
    return arrays, single


def _made_up(inputs: Sequence[Tensor], sizes: Mapping[str, tuple[int, ...]], largest: int) -> Arrays:
    numbers = tuple(tensor for tensor in inputs if tensor.dtype != "object")
    extent = {axis: allowed[-1] for axis, allowed in sizes.items()} | {"batch": max(largest, 1)}
    shapes = {t.name: tuple(extent[size] if isinstance(size, str) else size for size in t.shape) for t in inputs}
    needed = sum(float(np.prod(shapes[t.name])) * np.dtype(t.dtype).itemsize for t in inputs)
    if needed > MOST_BYTES:
        raise ConchError(
            f"made-up inputs of {largest} rows would take {needed / 2**30:.1f} GiB; use a smaller --max-batch, "
            "--sizes AXIS=..., or real ones: --inputs-from"
        )
    made = random_examples(numbers, sizes, largest)
    draw = np.random.default_rng(0)
    for tensor in inputs:
        if tensor.dtype == "object":
            chosen = draw.choice(np.array(WORDS, dtype=object), shapes[tensor.name])
            made[tensor.name] = np.asarray(chosen, dtype=object).reshape(shapes[tensor.name])
    rows = min(len(array) for array in made.values()) if made else 0
    return {tensor.name: made[tensor.name][:rows] for tensor in inputs}
