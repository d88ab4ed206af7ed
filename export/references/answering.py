"""References that are no PyTorch: another ONNX file, and answers that were recorded before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from conch.contracts.errors import ConchError
from conch.contracts.npz import read_arrays
from export.proof.ambiguity import Answers
from export.proof.runtime import onnx_predict
from export.references.file_subject import FileSubject
from export.references.matching import Slot, match
from export.references.onnx_file import OnnxFile
from serving.onnx_files.runtime_reason import runtime_reason
from training.predict import in_batches

Arrays = dict[str, np.ndarray]


class _WithoutFreedom:
    """Has one answer, in the precision that it has."""

    def exact(self, _: Mapping[str, np.ndarray]) -> Arrays:
        """None."""
        return {}

    def add_other_answers(
        self, inputs: Mapping[str, np.ndarray], known: Mapping[str, Answers], enough: Callable[[], bool], made_up: bool
    ) -> None:
        """None."""


class FileReference(_WithoutFreedom):
    """Another ONNX file, run by ONNX Runtime on the CPU."""

    recorded = False
    no_float64 = "it is an ONNX file; the tolerance alone decides"

    def __init__(
        self, path: Path, called: str, inputs: Mapping[str, str], outputs: Mapping[str, str], batched: bool
    ) -> None:
        """Load it.

        Args:
            path: the file.
            called: its name in messages.
            inputs: its name of each input of the file under proof.
            outputs: the same of the outputs.
            batched: whether its first axis is the batch.

        Raises:
            ConchError: ONNX Runtime does not load it.
        """
        self.called = called
        self._inputs, self._outputs = inputs, outputs
        predict = onnx_predict(path)
        self._predict = predict if batched else in_batches(predict, 0)

    def answers(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Its own, under the names of the file under proof. Raises ConchError where it does not run."""
        try:
            found = self._predict({self._inputs[name]: array for name, array in inputs.items()})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ConchError(runtime_reason(error)) from error
        return {name: found[theirs] for name, theirs in self._outputs.items()}


class RecordedReference(_WithoutFreedom):
    """Answers from a file: to the rows of the examples, in their order."""

    called = "the recorded answers"
    recorded = True
    no_float64 = "they are recorded; the tolerance alone decides"

    def __init__(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Keep `outputs`, axis 0 the item, by the name of the file's output."""
        self._outputs = outputs

    def answers(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Those of the first items, as many as `inputs` has; copies."""
        rows = len(next(iter(inputs.values())))
        return {name: array[:rows].copy() for name, array in self._outputs.items()}


def recorded_outputs(file: OnnxFile, subject: FileSubject, path: Path) -> tuple[Arrays, str]:
    """The arrays of `--outputs-from` by output, item by item as the examples are, and how they were matched.

    Raises:
        Mismatch: they are not what the file gives, by number, dtype or shape.
        ConchError: they cannot be read, or do not belong to the inputs.
    """
    arrays = read_arrays(path, "--outputs-from")
    whole = subject.batched or subject.single
    slots = [Slot(name, array.dtype.name, array.shape if whole else array.shape[1:]) for name, array in arrays.items()]
    called = f"--outputs-from {path}"
    matching = match("output", file.outputs, slots, called)
    found: Arrays = {}
    for slot, place in zip(file.outputs, matching.places, strict=True):
        array = arrays[slots[place].name]
        array = array[np.newaxis] if subject.single else array
        if not array.ndim or len(array) != subject.rows:
            raise ConchError(
                f"{called}: {slots[place].name} has {len(array) if array.ndim else 'no'} rows, the inputs have "
                f"{subject.rows}; row i of the one has to answer row i of the other"
            )
        rows = len(next(iter(subject.examples.values())))
        found[slot.name] = array[np.arange(rows) % subject.rows]
    return found, matching.said
