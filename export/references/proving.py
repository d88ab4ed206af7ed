"""The proof of any ONNX file: the parity grid, against a module, another ONNX file, or recorded answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import sha256_of_file
from export.conversion.convert import example_inputs
from export.diagnosis.culprit import Culprit, find_culprit
from export.modules.module_served import MIXED, SEED
from export.modules.weighted import load_weighted
from export.proof.budget import largest
from export.proof.cells import Grid
from export.proof.pace import Pace
from export.proof.parity import parity_grid
from export.proof.reference import ModuleReference, Reference
from export.proof.runtime import onnx_predict
from export.references.against_module import AsFile, OneByOne, forward_slots
from export.references.answering import FileReference, RecordedReference, recorded_outputs
from export.references.file_subject import (
    Asked,
    FileSubject,
    OnnxFile,
    one_by_one,
    open_file,
    room_for_a_batch,
    subject_of,
)
from export.references.matching import Mismatch, Shape, Slot, match
from serving.errors import ServingError
from training.predict import run_module
from training.score import Predict
from training.served import Served
from training.tensors import Tensor

PROBES = 8
"""Sizes that are tried to find out what the reference answers."""

Arrays = dict[str, np.ndarray]


class Unverifiable(ConchError):
    """There is nothing that the file could be proven against."""


class NotServable(ConchError):
    """The file is damaged, or ONNX Runtime does not load it, or Triton has no such types."""


@dataclass(frozen=True)
class Against:
    """What a file is held against, as the command line says it."""

    reference: str | None = None
    """FILE.py:NAME, or an ONNX file."""
    outputs_from: Path | None = None
    weights: Path | None = None
    torch_weights: Path | None = None

    def check(self, inputs_from: Path | None) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConchError: what, and what to give instead.
        """
        if self.reference and self.outputs_from:
            raise ConchError("--reference and --outputs-from: one of the two says what is right")
        if self.outputs_from and not inputs_from:
            raise ConchError("--outputs-from needs the inputs that they answer: --inputs-from")
        if (self.weights or self.torch_weights) and not self.is_module:
            raise ConchError("--weights and --torch-weights are of a module: --reference FILE.py:NAME")

    @property
    def is_module(self) -> bool:
        """Whether the reference is one; else it is a file."""
        return self.reference is not None and ".py:" in self.reference


@dataclass(frozen=True)
class FileProof:
    """What was shown of a file, and by what."""

    subject: FileSubject
    grid: Grid
    reference: dict[str, Any]
    """What it was held against, for the manifest."""
    told: tuple[str, ...] = ()
    """How the command was read, a line each."""
    culprit: Culprit | None = None


@dataclass(frozen=True)
class _Held:
    """A reference that was matched with the file."""

    subject: FileSubject
    reference: Reference
    described: dict[str, Any]
    told: tuple[str, ...]
    served: Served | None = field(default=None)


def prove_file(path: Path, asked: Asked, against: Against, pace: Pace, batched: bool | None = None) -> FileProof:
    """Run the parity grid of an ONNX file.

    Args:
        path: the file.
        asked: what it is run on.
        against: what it is held against.
        pace: told of every run, and may cut the grid.
        batched: whether its first axis is the batch; None finds out.

    Raises:
        NotServable: the file cannot be served at all.
        Mismatch: it does not take or give what the reference does; nothing was run.
        Unverifiable: there is nothing to hold it against.
        ConchError: what was asked contradicts itself or the file.
    """
    against.check(asked.inputs_from)
    if not path.is_file():
        raise ConchError(f"there is no file {path}")
    try:
        file = open_file(path)
    except ServingError as error:
        raise NotServable(str(error)) from error
    if not file.inputs:
        raise Unverifiable(f"{path} has no inputs: nothing can be asked of it")
    if against.outputs_from:
        held = _recorded(file, asked, against.outputs_from, batched)
    elif against.reference is None:
        raise Unverifiable(
            f"there is nothing to prove {path} against; give --reference FILE.py:NAME, --reference OTHER.onnx, or "
            "recorded answers: --inputs-from x.npz --outputs-from y.npz"
        )
    elif against.is_module:
        held = _module(file, asked, against, batched)
    else:
        held = _other_file(file, asked, Path(against.reference), batched)
    program = onnx_predict(path)
    grid = parity_grid(held.subject, path, _items(held.subject, program), held.reference, pace)
    culprit = None
    if held.served and held.subject.batched and grid.wrong and not grid.uncovered:
        pace.tell(f"{held.subject.name}: looking for the node that is wrong")
        culprit = find_culprit(held.served, path, grid)
    described = held.described | {
        "batched": held.subject.batched,
        "inputs": asked.inputs_from.name if asked.inputs_from else f"random within their ranges, seed {SEED}",
    }
    return FileProof(held.subject, grid, described, (*held.told, *_doubts(held, against, grid)), culprit)


def _items(subject: FileSubject, predict: Predict) -> Predict:
    return predict if subject.batched else one_by_one(predict)


def _doubts(held: _Held, against: Against, grid: Grid) -> list[str]:
    """What may make a passed proof worth nothing, or a failed one the command's fault."""
    if grid.wrong and against.is_module and not (against.weights or against.torch_weights):
        return [f"{against.reference} was taken with the weights that it builds itself with; others: --weights FILE"]
    floats = [cell for cell in grid.cells if np.dtype(_dtype(held.subject, cell.output)).kind == "f"]
    if held.reference.recorded and floats and all(cell.passed and cell.difference == 0 for cell in floats):
        return [
            "the recorded answers are bit for bit what this file answers: if they were recorded from it, they prove "
            "nothing"
        ]
    return []


def _dtype(subject: FileSubject, output: str) -> str:
    return next(tensor.dtype for tensor in subject.outputs if tensor.name == output)


def _recorded(file: OnnxFile, asked: Asked, path: Path, batched: bool | None) -> _Held:
    if asked.sizes:
        raise ConchError("--sizes: recorded answers are to inputs of their own sizes alone")
    program = onnx_predict(file.path)
    if batched is None:
        batched = room_for_a_batch(file) and _rows_are_independent(_subject(file, asked, True), program) is True
    subject = _subject(file, asked, batched)
    sizes = {axis: allowed[-1:] for axis, allowed in subject.sizes.items()}
    subject = replace(subject, sizes=sizes, random_examples=False)
    outputs, matched = recorded_outputs(file, subject, path)
    described = {
        "kind": "recorded answers",
        "file": path.name,
        "sha256": {path.name: sha256_of_file(path)},
        "matched": matched,
    }
    answered = _answered(subject, outputs)
    return _Held(answered, RecordedReference(outputs), described, (matched,) if matched else ())


def _other_file(file: OnnxFile, asked: Asked, path: Path, batched: bool | None) -> _Held:
    other = _open_reference(path)
    if sha256_of_file(path) == sha256_of_file(file.path):
        raise Unverifiable(f"{path} is the same file as {file.path}: the two cannot differ, and nothing is proven")
    called = other.called if other.called != file.called else str(path)
    inputs = match("input", file.inputs, other.inputs, called)
    outputs = match("output", file.outputs, other.outputs, called)
    narrowed = {
        slot.name: other.inputs[place].shape or () for slot, place in zip(file.inputs, inputs.places, strict=True)
    }
    names = _renamed(file.inputs, other.inputs, inputs.places), _renamed(file.outputs, other.outputs, outputs.places)
    told = tuple(said for said in (inputs.said, outputs.said) if said)
    room = room_for_a_batch(file, [slot.shape for slot in (*other.inputs, *other.outputs)])

    def reference(as_batch: bool) -> FileReference:
        return FileReference(path, called, *names, as_batch)

    if batched is None:
        batched = room and _rows_are_independent(_subject(file, asked, True, narrowed), reference(True).answers) is True
    elif batched and not room:
        raise Mismatch(f"{called} has no open first axis for the batch, the file is to be served with one")
    subject = _subject(file, asked, batched, narrowed)
    against = reference(batched)
    described = {
        "kind": "onnx file", "file": path.name, "sha256": {path.name: sha256_of_file(path)},
        "matched": "; ".join(told),
    }  # fmt: skip
    return _Held(_answered(subject, _any_answer(subject, against.answers) or {}), against, described, told)


def _module(file: OnnxFile, asked: Asked, against: Against, batched: bool | None) -> _Held:
    assert against.reference is not None
    loaded = load_weighted(against.reference, against.weights, against.torch_weights)
    slots = forward_slots(loaded.module, file.inputs, against.reference)
    inputs = match("input", file.inputs, slots, against.reference)
    arguments = [slots[place].name for place in inputs.places]
    if batched is None:
        batched = room_for_a_batch(file) and (
            _rows_are_independent(_subject(file, asked, True), _all_outputs(file, AsFile(loaded.module, arguments)))
            is True
        )
    subject = _subject(file, asked, batched)
    as_served = AsFile(loaded.module, arguments)
    answer = _any_answer(subject, _all_outputs(file, as_served if batched else OneByOne(as_served)))
    told = [*loaded.told, inputs.said]
    if answer is not None:
        given = [Slot("", array.dtype.name, array.shape if batched else array.shape[1:]) for array in answer.values()]
        outputs = match("output", file.outputs, given, against.reference)
        as_served = AsFile(loaded.module, arguments, outputs.places)
        subject = _answered(
            subject,
            {slot.name: [*answer.values()][place] for slot, place in zip(file.outputs, outputs.places, strict=True)},
        )
        told.append(outputs.said)
    served = Served(
        name=subject.name, module=as_served if batched else OneByOne(as_served), inputs=subject.inputs,
        outputs=subject.outputs, examples=subject.examples, random_examples=subject.random_examples,
        largest_batch=subject.largest_batch, sizes=subject.sizes,
    )  # fmt: skip
    matched = "; ".join(said for said in (inputs.said,) if said)
    described = {
        "kind": "module", "file": Path(against.reference).name, **loaded.source, "sha256": loaded.hashes,
        "matched": matched,
    }  # fmt: skip
    return _Held(subject, ModuleReference(served), described, tuple(filter(None, told)), served)


def _open_reference(path: Path) -> OnnxFile:
    """The other file.

    Raises:
        ConchError: it is no ONNX file that can be run.
    """
    try:
        return open_file(path)
    except ServingError as error:
        raise ConchError(f"--reference {path}: {error}") from error


def _subject(file: OnnxFile, asked: Asked, batched: bool, narrowed: Mapping[str, Shape] | None = None) -> FileSubject:
    return subject_of(file, asked, batched, narrowed or {})


def _renamed(file: Sequence[Slot], reference: Sequence[Slot], places: Sequence[int]) -> dict[str, str]:
    return {slot.name: reference[place].name for slot, place in zip(file, places, strict=True)}


def _all_outputs(file: OnnxFile, module: torch.nn.Module) -> Predict:
    """All that a module gives, by number."""

    def predict(inputs: Mapping[str, np.ndarray]) -> Arrays:
        outputs = run_module(module, (inputs[slot.name] for slot in file.inputs))
        return {str(place): output.numpy(force=True) for place, output in enumerate(outputs)}

    return predict


def _probes(subject: FileSubject) -> list[dict[str, int]]:
    """Some sizes, the largest first."""
    combinations = itertools.product(*(allowed[::-1] for allowed in subject.sizes.values()))
    return [dict(zip(subject.sizes, sizes, strict=True)) for sizes in itertools.islice(combinations, PROBES)]


def _any_answer(subject: FileSubject, predict: Predict) -> Arrays | None:
    """What `predict` gives for the first sizes that it takes; None where it takes none of some."""
    for sizes in _probes(subject):
        try:
            return predict(example_inputs(subject, min(2, subject.largest_batch), sizes))
        except Exception:  # whatever it raises, the grid will tell
            continue
    return None


def _rows_are_independent(subject: FileSubject, predict: Predict) -> bool | None:
    """Whether the second of two rows gets the answer that it gets alone; None where two rows are never taken."""
    for sizes in _probes(subject):
        pair = example_inputs(subject, 2, sizes)
        try:
            both, alone = predict(pair), predict({name: array[1:] for name, array in pair.items()})
        except Exception:  # these sizes are not taken; others may be
            continue
        return all(
            both[name].shape[:1] == (2,)
            and compare(alone[name], both[name][1:], (MIXED * largest(both[name][1:]), MIXED)).agrees
            for name in both
        )
    return None


def _answered(subject: FileSubject, answers: Mapping[str, np.ndarray]) -> FileSubject:
    """With as many axes at the outputs as the reference gives; their sizes are judged against the reference's."""
    outputs = tuple(
        Tensor(
            tensor.name,
            tensor.dtype,
            ("batch", *(f"axis {axis} of {tensor.name}" for axis in range(1, answers[tensor.name].ndim)))
            if tensor.name in answers
            else tensor.shape,
        )
        for tensor in subject.outputs
    )
    return replace(subject, outputs=outputs)
