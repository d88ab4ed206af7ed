"""Show what can be shown of an ONNX file before it is published, changed where it could not be served as it came."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime

from serving.backends.onnxruntime.graph_tensors import served_type
from serving.errors import ServingError
from serving.onnx_files.asked import Asked
from serving.onnx_files.changed_file import ChangedFile
from serving.onnx_files.changes.axes import MovedAxis
from serving.onnx_files.changes.change import ChangeError, shape_text
from serving.onnx_files.changes.containers import MapAsTensor, next_container
from serving.onnx_files.changes.fixed_inputs import fixed_input
from serving.onnx_files.changes.proof import prove_changes
from serving.onnx_files.changes.shapes import DeclaredShape, contradicted
from serving.onnx_files.inspection import Inspected
from serving.onnx_files.kept_states import KeptStates, completed, keep_states
from serving.onnx_files.sequence_trial import try_sequences
from serving.onnx_files.trial import Trial, try_model
from serving.onnx_files.trial_inputs import check_inputs, read_arrays

ROUNDS = 3
"""Trials until what is declared is what comes: a shape that is known can be the batch's, and others show then."""


@dataclass(frozen=True)
class Shown:
    """A file that can be served."""

    file: ChangedFile
    trial: Trial
    states: KeptStates
    proof: dict[str, Any]
    """For parity.json: `change_proof` and `sequences`, where there are changes and states."""

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The classes that were the keys of maps, by output; none where two outputs have different ones."""
        found = {
            change.output: tuple(map(str, change.keys))
            for change in self.file.changes
            if isinstance(change, MapAsTensor)
        }
        fit = all(label.splitlines() == [label] for labels in found.values() for label in labels)
        return found if fit and len(set(found.values())) == 1 else {}


def show(
    onnx_file: Path,
    inspected: Inspected,
    folder: Path,
    where: str,
    asked: Asked,
    max_batch: int | None,
    inputs_from: Path | None,
) -> Shown:
    """Change a file as `asked`, and as its outputs need; try it, and prove that it answers as before.

    Args:
        onnx_file: The file as it came.
        inspected: What was read of it.
        folder: An empty one, for the changed file.
        where: Model and file, for messages.
        asked: What is said of it.
        max_batch: The most rows of a batch; None finds out, 0 serves without batches.
        inputs_from: An .npz file with real inputs, as the file came takes them; None generates them.

    Raises:
        ServingError: What keeps it from being served.
    """
    moved = set(asked.batch_axes) - {name for pair in asked.states for name in pair}
    if moved and max_batch == 0:
        raise ServingError(f"--batch-axis {min(moved)}: there are no batches with --max-batch 0; leave one of them out")
    note = ""
    for batched in (True, False) if asked.states and max_batch is None else (max_batch != 0,):
        file = ChangedFile(onnx_file, inspected, folder / ("batched" if batched else "unbatched"), where)
        states = _change(file, asked, batched, inputs_from)
        most = max_batch if batched else 0
        trial = _tried(file, states, most, inputs_from)
        if trial.max_batch_size:
            break
        note = note or trial.note
        if moved:
            raise ServingError(f"{where} cannot be served in batches, as --batch-axis {min(moved)} asks: {note}")
    proof: dict[str, Any] = {}
    doubts = trial.doubts
    _refuse_chance(file, trial)
    if file.changes and trial.repeatable:
        proof["change_proof"] = prove_changes(file, trial.feeds)
    if states.pairs and trial.repeatable:
        proof["sequences"], doubt = try_sequences(file, asked, states, trial)
        doubts += (doubt,) if doubt else ()
    trial = replace(trial, note=note, doubts=doubts, changes=tuple(map(str, file.changes)))
    return Shown(file, trial, states, proof)


def _change(file: ChangedFile, asked: Asked, batched: bool, inputs_from: Path | None) -> KeptStates:
    """Make the changes that are asked for, and take outputs out of their containers."""
    try:
        return _made(file, asked, batched, inputs_from)
    except ChangeError as error:
        raise ServingError(f"{file.where}: {error}") from error


def _made(file: ChangedFile, asked: Asked, batched: bool, inputs_from: Path | None) -> KeptStates:
    while (change := next_container(file.model)) is not None:
        file.apply(change)
    inputs = {tensor.name: tensor for tensor in file.session().get_inputs()} if asked.fixed else {}
    for name, text in asked.fixed.items():
        if name not in inputs:
            raise ChangeError(f"--fix {name}={text}: there is no input {name!r}, there are {', '.join(inputs)}")
        file.apply(fixed_input(inputs[name], text))
    of_states = {name for pair in asked.states for name in pair}
    moved = {name: axis for name, axis in asked.batch_axes.items() if name not in of_states}
    if moved.keys() & {value.name for value in file.model.graph.output}:
        # An axis can only be moved among those that really come.
        _tried(file, KeptStates(asked.states, asked.controls), 0, inputs_from)
    for name, axis in moved.items():
        _move(file, name, axis)
    return keep_states(file, asked, batched)


def _move(file: ChangedFile, name: str, axis: int) -> None:
    signature = file.signature()
    kinds = [("input", tensor) for tensor in signature.inputs] + [("output", tensor) for tensor in signature.outputs]
    found = [(kind, tensor) for kind, tensor in kinds if tensor.name == name]
    if not found:
        there = ", ".join(tensor.name for _, tensor in kinds)
        raise ChangeError(f"--batch-axis {name}={axis}: there is no tensor {name!r}, there are {there}")
    for kind, tensor in found:
        if tensor.shape is None:
            raise ChangeError(f"--batch-axis {name}={axis}: nobody knows how many axes it has, so none can be moved")
        if axis >= len(tensor.shape):
            raise ChangeError(f"--batch-axis {name}={axis}: it has {len(tensor.shape)} axes, counted from 0")
        if isinstance(tensor.shape[axis], int):
            raise ChangeError(
                f"--batch-axis {name}={axis}: that axis is fixed to {tensor.shape[axis]}, a batch is open; export it "
                "again with a dynamic one"
            )
        if axis:
            file.apply(MovedAxis("input" if kind == "input" else "output", name, axis, len(tensor.shape)))


def _tried(file: ChangedFile, states: KeptStates, max_batch: int | None, inputs_from: Path | None) -> Trial:
    """The trial of a file that says of its outputs what comes."""
    where = f"{file.where} ({'; '.join(map(str, file.changes))})" if file.changes else file.where
    for _ in range(ROUNDS):
        session = file.session()
        _check_types(session, file.where)
        given = None
        if inputs_from is not None:
            arrays = completed(file.inputs_after(read_arrays(inputs_from)), file, states)
            given = check_inputs(arrays, inputs_from, tuple(session.get_inputs()))
        trial = try_model(session, where, max_batch, given)
        wrong = contradicted(session, trial)
        if not wrong:
            return trial
        if lost := [change for change in wrong if change.tensor in {other for _, other in states.pairs}]:
            raise ServingError(
                f"{where}: state {lost[0].tensor!r} is {shape_text(lost[0].before or ())}, and {lost[0].because}; give "
                "inputs of one sequence: --inputs-from data.npz"
            )
        for change in wrong:
            file.apply(change)
    raise ServingError(f"{where}: {wrong[0]}, and ONNX Runtime says otherwise; export it with shapes that are right")


def _check_types(session: onnxruntime.InferenceSession, where: str) -> None:
    for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for tensor in tensors:
            try:
                served_type(kind, tensor)
            except ValueError as error:
                raise ServingError(f"{where}: {error}") from error


def _refuse_chance(file: ChangedFile, trial: Trial) -> None:
    """What draws random numbers cannot be compared; its shapes can be declared all the same."""
    made = [change for change in file.changes if not isinstance(change, DeclaredShape)]
    if made and not trial.repeatable:
        raise ServingError(
            f"{file.where}: its answers to the same inputs differ, so that nothing shows what this does to them: "
            f"{made[0]}"
        )
