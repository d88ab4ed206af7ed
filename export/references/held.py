"""A file and its reference put together: who is which of whom, and whether the first axis is a batch.

That is the reference's to say where it can be run: a file that mixes its rows wrongly has to be found wrong, and not
taken for one without a batch. Of recorded answers the file itself is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import sha256_of_file
from export.conversion.convert import example_inputs, run_inputs
from export.modules.module_served import MIXED
from export.modules.module_source import load_module
from export.modules.weighted import load_given_weights
from export.proof.budget import largest
from export.proof.reference import ModuleReference, Reference
from export.proof.runtime import onnx_predict
from export.references.against_module import AsFile, forward_slots
from export.references.answering import FileReference, RecordedReference, recorded_outputs
from export.references.file_subject import Asked, FileSubject, subject_of
from export.references.matching import Mismatch, Shape, Slot, match
from export.references.onnx_file import OnnxFile, open_file, room_for_a_batch
from serving.errors import ServingError
from training.predict import own_tensors, slow_path
from training.score import Predict
from training.served import Served
from training.tensors import Tensor

PROBES = 8
"""Sizes that are tried to find out what the reference answers."""

Arrays = dict[str, np.ndarray]


class Unverifiable(ConchError):
    """There is nothing that the file could be proven against."""


@dataclass(frozen=True)
class Held:
    """A reference that was matched with the file."""

    subject: FileSubject
    reference: Reference
    described: dict[str, Any]
    """What it is, for the manifest."""
    told: tuple[str, ...]
    """How it was matched, a line each."""
    served: Served | None = None
    """The module, where it is one."""
    uncovered: tuple[str, ...] = ()
    """What the reference cannot be asked, a sentence each."""


def held_by_answers(file: OnnxFile, asked: Asked, path: Path, batched: bool | None) -> Held:
    """Against the answers of `--outputs-from`.

    Raises:
        Mismatch, ConchError: they do not belong to the file, or to the inputs.
    """
    if asked.sizes:
        raise ConchError("--sizes: recorded answers are to inputs of their own sizes alone")
    if batched is None:
        batched = room_for_a_batch(file) and _rows_are_independent(file, asked, onnx_predict(file.path))
    subject = subject_of(file, asked, batched)
    subject = replace(subject, sizes={axis: sizes[-1:] for axis, sizes in subject.sizes.items()})
    outputs, matched = recorded_outputs(file, subject, path)
    described = {"kind": "recorded answers", "file": path.name, "sha256": {path.name: sha256_of_file(path)},
                 "matched": matched}  # fmt: skip
    one_run = outputs if batched else {name: array[0] for name, array in outputs.items()}
    return Held(_answered(subject, one_run), RecordedReference(outputs), described, (matched,) if matched else ())


def held_by_file(file: OnnxFile, asked: Asked, path: Path, batched: bool | None) -> Held:
    """Against another ONNX file.

    Raises:
        Unverifiable: it is the same file.
        Mismatch: it takes or gives something else.
        ConchError: it cannot be run, or its names leave open which is which.
    """
    try:
        other = open_file(path)
    except ServingError as error:
        raise ConchError(f"--reference {path}: {error}") from error
    if sha256_of_file(path) == sha256_of_file(file.path):
        raise Unverifiable(f"{path} is the same file as {file.path}: the two cannot differ, and nothing is proven")
    called = path.name if path.name != file.path.name else str(path)
    inputs = match("input", file.inputs, other.inputs, called)
    outputs = match("output", file.outputs, other.outputs, called)
    names = _renamed(file.inputs, other.inputs, inputs.places), _renamed(file.outputs, other.outputs, outputs.places)
    shapes = {slot.name: other.inputs[place].shape or () for slot, place in
              zip(file.inputs, inputs.places, strict=True)}  # fmt: skip
    room = room_for_a_batch(file, [slot.shape for slot in (*other.inputs, *other.outputs)])
    one_run = FileReference(path, called, *names, batched=True)
    if batched is None:
        batched = room and _rows_are_independent(file, asked, one_run.answers)
    elif batched and not room:
        raise Mismatch(f"{called} has no open first axis for the batch that the file is to be served with")
    subject = subject_of(file, asked, batched, shapes)
    told = tuple(said for said in (inputs.said, outputs.said) if said)
    described = {"kind": "onnx file", "file": path.name, "sha256": {path.name: sha256_of_file(path)},
                 "matched": "; ".join(told)}  # fmt: skip
    reference = one_run if batched else FileReference(path, called, *names, batched=False)
    answered = _answered(subject, _any_answer(subject, one_run.answers))
    return Held(answered, reference, described, told, uncovered=tuple(_narrower(file, shapes, called)))


def held_by_module(
    file: OnnxFile, asked: Asked, source: str, weights: Path | None, torch_weights: Path | None, batched: bool | None
) -> Held:
    """Against `FILE.py:NAME`.

    Raises:
        Mismatch: it takes or gives something else.
        ConchError: it cannot be built, or its names leave open which is which.
    """
    module = load_module(source).module
    loaded = load_given_weights(module, weights, torch_weights)
    slots = forward_slots(module, file.inputs, source)
    inputs = match("input", file.inputs, slots, source)
    arguments = [slots[place].name for place in inputs.places]
    run = _all_outputs(file, AsFile(module, arguments))
    if batched is None:
        batched = room_for_a_batch(file) and _rows_are_independent(file, asked, run)
    subject = subject_of(file, asked, batched)
    said, outputs = [inputs.said], list[str]()
    if answer := _any_answer(subject, run):
        given = [Slot(name, array.dtype.name, array.shape) for name, array in answer.items()]
        matching = match("output", file.outputs, given, source, more_by_name=True)
        outputs = [given[place].name for place in matching.places]
        pairs = zip(file.outputs, outputs, strict=True)
        subject = _answered(subject, {slot.name: answer[theirs] for slot, theirs in pairs})
        said += [matching.said] if len(given) > 1 else []  # one tensor has no name to go by
    served = Served(
        name=subject.name, module=AsFile(module, arguments, outputs), inputs=subject.inputs,
        outputs=subject.outputs, examples=subject.examples, real_examples=subject.real_examples,
        largest_batch=subject.largest_batch, sizes=subject.sizes,
    )  # fmt: skip
    files = {"source": Path(source.rpartition(":")[0])} | {one.name: one for one in loaded.files}
    hashes = {name: sha256_of_file(path) for name, path in files.items()}
    described = {
        "kind": "module", "file": Path(source).name, "weights": loaded.name, "weights_read": list(loaded.done),
        "sha256": hashes, "matched": "; ".join(filter(None, said)),
    }  # fmt: skip
    return Held(subject, ModuleReference(served), described, tuple(filter(None, (*loaded.told, *said))), served)


def _renamed(file: Sequence[Slot], reference: Sequence[Slot], places: Sequence[int]) -> dict[str, str]:
    return {slot.name: reference[place].name for slot, place in zip(file, places, strict=True)}


def _narrower(file: OnnxFile, shapes: Mapping[str, Shape], called: str) -> Iterator[str]:
    """Each input of which the file takes sizes that the reference does not."""
    for slot in file.inputs:
        other = shapes[slot.name]
        pairs = zip(slot.shape or (), other, strict=True)
        if any(isinstance(fixed, int) and not isinstance(size, int) for size, fixed in pairs):
            yield f"input {slot.name} of {called} is {[*other]} alone: other sizes of {slot} have nothing to go by"


def _all_outputs(file: OnnxFile, module: AsFile) -> Predict:
    """All that a module gives in one run, by its own names."""

    def predict(inputs: Mapping[str, np.ndarray]) -> Arrays:
        with slow_path(), torch.inference_mode():
            returned = module.returned(*own_tensors(inputs[slot.name] for slot in file.inputs))
        return {name: output.numpy(force=True).copy() for name, output in returned.items()}

    return predict


def _probes(subject: FileSubject) -> list[dict[str, int]]:
    """Some sizes, the largest first."""
    combinations = itertools.product(*(sizes[::-1] for sizes in subject.sizes.values()))
    return [dict(zip(subject.sizes, sizes, strict=True)) for sizes in itertools.islice(combinations, PROBES)]


def _any_answer(subject: FileSubject, predict: Predict) -> Arrays:
    """What one run gives for the first sizes that are taken; nothing where none of some are."""
    for sizes in _probes(subject):
        try:
            return predict(run_inputs(subject, example_inputs(subject, min(2, subject.largest_batch or 1), sizes)))
        except Exception:  # whatever it raises, the grid will tell
            continue
    return {}


def _rows_are_independent(file: OnnxFile, asked: Asked, predict: Predict) -> bool:
    """Whether the first axis is a batch: the second of two rows gets the answer that it gets alone."""
    subject = subject_of(file, replace(asked, sizes=()), batched=True)
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
    return False


def _answered(subject: FileSubject, answers: Mapping[str, np.ndarray]) -> FileSubject:
    """With as many axes at the outputs as one run of the reference gives; their sizes are judged against its."""
    outputs = tuple(replace(tensor, shape=_axes(tensor, answers, subject.batched)) for tensor in subject.outputs)
    return replace(subject, outputs=outputs)


def _axes(tensor: Tensor, answers: Mapping[str, np.ndarray], batched: bool) -> tuple[int | str, ...]:
    if tensor.name not in answers:
        return tensor.shape
    axes = tuple(f"axis {axis} of {tensor.name}" for axis in range(answers[tensor.name].ndim))
    return ("batch", *axes[1:]) if batched else axes
