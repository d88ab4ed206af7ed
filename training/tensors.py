"""What goes into a served model and comes out of it, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass

from conch.contracts.errors import ConchError


@dataclass(frozen=True)
class Tensor:
    """A named input or output of a served model.

    `shape` holds integers (fixed) and strings (symbolic axes); its first axis is "batch", unless the module is served
    without batches. `dtype` is NumPy's name.
    `low` and `high` bound an input's values: the proof feeds arrays of nothing but either.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    low: float = 0
    high: float = 255


@dataclass(frozen=True)
class Tolerance:
    """How far an ONNX file's output may be from PyTorch's: absolute + relative * |PyTorch's|."""

    absolute: float
    relative: float
    reason: str
    """Why this model needs another tolerance than the documented one; it lands in the manifest."""

    def __post_init__(self) -> None:
        """Refuse a tolerance without a reason, and one that accepts everything."""
        if not self.reason.strip():
            raise ConchError("a tolerance of a recipe needs a reason, got an empty one")
        for name in ("absolute", "relative"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConchError(f"{name} tolerance {getattr(self, name)}: it must be a finite number of at least 0")
