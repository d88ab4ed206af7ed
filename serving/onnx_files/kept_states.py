"""The states that somebody names of an ONNX file: checked, the batch in front, of a shape that Triton can keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from conch.contracts.states import swapped_states
from serving.onnx_files.asked import Asked
from serving.onnx_files.changed_file import ChangedFile
from serving.onnx_files.changes.axes import MovedAxis, ReshapedControl
from serving.onnx_files.changes.change import Arrays, Change, ChangeError, fresh_name, shape_text
from serving.onnx_files.changes.shapes import DeclaredShape, agreed, closed
from serving.onnx_files.signature import Shape, Tensor
from serving.onnx_files.trial_inputs import dtype_of, read_arrays

CONTROL_TYPES = ("tensor(bool)", "tensor(int32)", "tensor(float)")
"""Those in which Triton says yes and no."""


@dataclass(frozen=True)
class KeptStates:
    """What the server keeps for each sequence, by the names of the file as it is served."""

    pairs: tuple[tuple[str, str], ...] = ()
    controls: Mapping[str, str] = field(default_factory=dict)
    """Input -> `start`, `end` or `ready`."""
    initial: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By input, without the batch axis; a state that is not here begins with zeros."""


@dataclass(frozen=True)
class RenamedOutput(Change):
    """A state's output has another name. No client sees it."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"output {self.before!r} is called {self.after!r}: NVIDIA's backend pairs states by the order of names"

    def apply(self, model: onnx.ModelProto) -> None:
        """Hand it on under the other name."""
        for value in model.graph.output:
            if value.name == self.before:
                value.name = self.after
        model.graph.node.append(onnx.helper.make_node("Identity", [self.before], [self.after], name=self.after))

    def answers(self, before: Arrays) -> Arrays:
        """Under the other name."""
        return {self.after if name == self.before else name: array for name, array in before.items()}


def keep_states(file: ChangedFile, asked: Asked, batched: bool) -> KeptStates:
    """Change the file so that Triton can keep the states that `asked` names.

    Args:
        file: The file, whose outputs are tensors by now.
        asked: States, first values, controls, and the batch axis of a state where its shape does not tell it.
        batched: Whether requests of several sequences are to share a run; else the batch axis gets the length 1.

    Raises:
        ChangeError: A state or control is no tensor of the file, its two sides differ, it has an open axis beside the
            batch, or its first value does not fit; what was given and what is allowed is said.
    """
    axes = {one: _batch_axis(file, one, other, asked) for one, other in asked.states}
    given = read_arrays(asked.initial_state) if asked.initial_state else {}
    if unknown := given.keys() - axes.keys():
        raise ChangeError(f"{asked.initial_state} has the array {min(unknown)!r}; the states are {sorted(axes)}")
    initial = {}
    if not batched:
        _close_batches(file, axes)
    for one, other in asked.states:
        axis = axes[one]
        first = _first_value(given[one], file, one, axis, asked.initial_state) if one in given else None
        if axis is not None and batched:
            _move(file, one, other, axis)
        _declare(file, one, other, axis, batched, first)
        if first is not None:
            initial[one] = first if axis is None or batched else np.expand_dims(first, axis)
    pairs = _sorted_alike(file, asked.states)
    for name in asked.controls:
        _check_control(file, name, batched)
    return KeptStates(pairs, dict(asked.controls), initial)


def completed(inputs: Arrays, file: ChangedFile, states: KeptStates) -> Arrays:
    """Real inputs of the changed file with what they may leave out: first values of states, and controls.

    They have as many rows as the others where the first axis is the batch.
    """
    rows = next((len(array) for array in inputs.values() if array.ndim), 1)
    missing = {}
    for tensor in file.signature().inputs:
        if tensor.name in inputs or tensor.name not in {one for one, _ in states.pairs} | states.controls.keys():
            continue
        shape = tuple(size if isinstance(size, int) else rows for size in tensor.shape or ())
        zeros = np.zeros(shape, dtype_of(tensor.type))
        missing[tensor.name] = zeros + states.initial[tensor.name] if tensor.name in states.initial else zeros
    return {**inputs, **missing}


def _tensors(file: ChangedFile, one: str, other: str) -> tuple[Tensor, Tensor]:
    signature = file.signature()
    inputs = {tensor.name: tensor for tensor in signature.inputs}
    outputs = {tensor.name: tensor for tensor in signature.outputs}
    for kind, name, there in (("input", one, inputs), ("output", other, outputs)):
        if name not in there:
            raise ChangeError(f"--state {one}={other}: there is no {kind} {name!r}, there are {', '.join(there)}")
    return inputs[one], outputs[other]


def _batch_axis(file: ChangedFile, one: str, other: str, asked: Asked) -> int | None:
    """Which axis of a state is the batch: as said, else its first where that is open, else its only open one."""
    before, after = _tensors(file, one, other)
    where = f"--state {one}={other}"
    sides = f"goes in as {_described(before)} and comes out as {_described(after)}"
    if before.type != after.type or before.type == "tensor(string)":
        raise ChangeError(f"{where}: {sides}; both have to be of one type, and no text")
    shape = agreed(before.shape, after.shape)
    if shape is None:
        raise ChangeError(f"{where}: {sides}; both have to be of one shape")
    said = {asked.batch_axes[name] for name in (one, other) if name in asked.batch_axes}
    if len(said) > 1:
        raise ChangeError(f"{where}: its batch is said to be axis {' and '.join(map(str, sorted(said)))}; it is one")
    if said:
        (axis,) = said
        if axis >= len(shape):
            raise ChangeError(f"--batch-axis {one}={axis}: {sides}, axes are counted from 0")
        if isinstance(shape[axis], int):
            raise ChangeError(f"--batch-axis {one}={axis}: {sides}, that axis is fixed and a batch is open")
        return axis
    opened = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if not opened:
        return None
    if opened[0] != 0 and len(opened) > 1:
        raise ChangeError(f"{where}: {sides}, several axes are open; say which is the batch: --batch-axis {one}=AXIS")
    return opened[0]


def _first_value(array: np.ndarray, file: ChangedFile, one: str, axis: int | None, path: Path | None) -> np.ndarray:
    """A state's first value without the batch, which may be given with a batch of one."""
    tensor = next(tensor for tensor in file.signature().inputs if tensor.name == one)
    shape: Shape = tensor.shape or ()
    if axis is not None and array.ndim == len(shape) and array.shape[axis] == 1:
        array = np.take(array, 0, axis)
    wanted = shape if axis is None else (*shape[:axis], *shape[axis + 1 :])
    fits = array.ndim == len(wanted) and all(
        not isinstance(size, int) or size == got for size, got in zip(wanted, array.shape, strict=True)
    )
    if array.dtype != np.dtype(dtype_of(tensor.type)) or not fits:
        raise ChangeError(
            f"{path}: {one!r} is {array.dtype} {list(array.shape)}, a state without its batch is "
            f"{dtype_of(tensor.type)} {shape_text(wanted)}"
        )
    return array


def _move(file: ChangedFile, one: str, other: str, axis: int) -> None:
    if axis == 0:
        return
    before, after = _tensors(file, one, other)
    rank = len(before.shape if before.shape is not None else after.shape or ())
    file.apply(MovedAxis("input", one, axis, rank))
    file.apply(MovedAxis("output", other, axis, rank))


def _close_batches(file: ChangedFile, axes: Mapping[str, int | None]) -> None:
    """Give the length 1 to each axis that is called as the batch of a state: such requests come alone."""
    inputs = {tensor.name: tensor.shape or () for tensor in file.signature().inputs}
    names = {inputs[one][axis] for one, axis in axes.items() if axis is not None and inputs[one]} - {None}
    for name, shape in inputs.items():
        lengths = {axis: 1 for axis, size in enumerate(shape) if isinstance(size, str) and size in names}
        if lengths and name not in axes:
            after = closed(shape, lengths)
            file.apply(DeclaredShape("input", name, shape, after, "it is served without batches, as the states are"))


def _declare(
    file: ChangedFile, one: str, other: str, axis: int | None, batched: bool, first: np.ndarray | None
) -> None:
    """Declare both sides alike: what either says of an axis, and the lengths of the first value."""
    before, after = _tensors(file, one, other)
    shape = agreed(before.shape, after.shape) or ()
    place = 0 if batched else axis
    lengths: dict[int, int] = {}
    if first is not None:
        others = [number for number in range(len(shape)) if axis is None or number != place]
        lengths = dict(zip(others, first.shape, strict=True))
    if axis is not None and not batched:
        lengths[axis] = 1
    shape = closed(shape, lengths)
    opened = [number for number, size in enumerate(shape) if not isinstance(size, int)]
    if opened != ([0] if axis is not None and batched else []):
        raise ChangeError(
            f"--state {one}={other}: its shape is {shape_text(shape)}; a state keeps its lengths, so no axis but the "
            f"batch may be open; give its first value, which has them: --initial-state FILE.npz"
        )
    if before.shape is None or shape_text(before.shape) != shape_text(shape):
        file.apply(DeclaredShape("input", one, before.shape, shape, "a state"))
    if after.shape is None or shape_text(after.shape) != shape_text(shape):
        file.apply(DeclaredShape("output", other, after.shape, shape, "a state"))


def _sorted_alike(file: ChangedFile, states: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The states, outputs renamed where another order of names would exchange states."""
    if not swapped_states(states):
        return states
    renamed = []
    for one, other in states:
        name = fresh_name(file.model, f"next_{one}")
        file.apply(RenamedOutput(other, name))
        renamed.append((one, name))
    return tuple(renamed)


def _check_control(file: ChangedFile, name: str, batched: bool) -> None:
    tensors = {tensor.name: tensor for tensor in file.signature().inputs}
    if name not in tensors:
        raise ChangeError(f"--control {name}: there is no input {name!r}, there are {', '.join(tensors)}")
    tensor = tensors[name]
    sizes = [size if isinstance(size, int) else -1 for size in tensor.shape or ()]
    if tensor.type not in CONTROL_TYPES or tensor.shape is None or any(size not in (1, -1) for size in sizes):
        raise ChangeError(
            f"--control {name}: the input is {_described(tensor)}; a control is bool, int32 or float32, and one number "
            "an item"
        )
    # Triton hands it over as [batch, 1], or as [1].
    if (sizes == [-1]) if batched else (len(sizes) != 1):
        file.apply(ReshapedControl(name, len(sizes), batched))


def _described(tensor: Tensor) -> str:
    return f"{dtype_of(tensor.type)} {'of unknown shape' if tensor.shape is None else shape_text(tensor.shape)}"
