"""A declared shape that is not so: what answers contradict, and what the states of a sequence are known to have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx
import onnxruntime

from serving.onnx_files.changes.change import Change, declare_shape, shape_text
from serving.onnx_files.signature import Shape
from serving.onnx_files.trial import Trial


@dataclass(frozen=True)
class DeclaredShape(Change):
    """An input or output is declared anew."""

    kind: Literal["input", "output"]
    tensor: str
    before: Shape | None
    after: Shape
    because: str

    def __str__(self) -> str:
        declared = "without a shape" if self.before is None else f"as {shape_text(self.before)}"
        return (
            f"{self.kind} {self.tensor!r}, declared {declared}, is declared as {shape_text(self.after)}: {self.because}"
        )

    def apply(self, model: onnx.ModelProto) -> None:
        """Declare it."""
        values = model.graph.input if self.kind == "input" else model.graph.output
        declare_shape(next(value for value in values if value.name == self.tensor), self.after)


def contradicted(session: onnxruntime.InferenceSession, trial: Trial) -> list[DeclaredShape]:
    """The outputs that came in another shape than the session says.

    Where the number of axes differs all are left open, else those that came in another length. Both backends compare
    a configuration with the session, so the file has to say so too.
    """
    changes = []
    for output in session.get_outputs():
        for run in trial.runs:
            shape, got = tuple(output.shape), tuple(run["outputs"][output.name])
            if (right := _opened(shape, got)) != shape:
                came = f"it came as {list(got)}"
                changes.append(DeclaredShape("output", output.name, shape, right, came))
                break
    return changes


def _opened(shape: Shape, got: tuple[int, ...]) -> Shape:
    if len(shape) != len(got):
        return (None,) * len(got)
    return tuple(None if isinstance(size, int) and size != length else size
                 for size, length in zip(shape, got, strict=True))  # fmt: skip


def agreed(one: Shape | None, other: Shape | None) -> Shape | None:
    """The shape of two tensors that are to have one: what either knows of each axis; None where they cannot."""
    if one is None or other is None:
        return one if other is None else other
    if len(one) != len(other):
        return None
    axes: list[int | str | None] = []
    for size, twin in zip(one, other, strict=True):
        if isinstance(size, int) and isinstance(twin, int) and size != twin:
            return None
        axes.append(twin if isinstance(twin, int) else size)
    return tuple(axes)


def closed(shape: Shape, sizes: Mapping[int, int]) -> Shape:
    """`shape` with a length for some of its axes."""
    return tuple(sizes.get(axis, size) for axis, size in enumerate(shape))
