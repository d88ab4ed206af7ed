"""An ONNX file under proof, or a reference of one: sound, loaded, and its tensors as ONNX Runtime has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.references.matching import Shape, Slot
from serving.onnx_files.inspection import Inspected, inspect_onnx
from serving.onnx_files.signature import Tensor, open_session, session_signature
from serving.onnx_files.trial_inputs import dtype_of
from serving.repository.configuration import graph_config


@dataclass(frozen=True)
class OnnxFile:
    """A file that ONNX Runtime loads."""

    path: Path
    inspected: Inspected
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]


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


def _slots(tensors: Sequence[Tensor]) -> tuple[Slot, ...]:
    return tuple(Slot(tensor.name, dtype_of(tensor.type), tensor.shape) for tensor in tensors)


def room_for_a_batch(file: OnnxFile, other: Sequence[Shape | None] = ()) -> bool:
    """Whether the first axis of every input and output is open, of the file and of the reference."""
    shapes = [slot.shape for slot in (*file.inputs, *file.outputs)] + [shape for shape in other if shape is not None]
    return bool(file.inputs) and all(shape and not isinstance(shape[0], int) for shape in shapes)
