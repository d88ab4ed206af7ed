"""What lower precision is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from conch.contracts.errors import ConchError
from export.precision.target import TARGETS, Target, TargetName

Precision = Literal["int8", "int4", "fp16"]
Way = Literal["auto", "static", "dynamic", "weights"]

BLOCK_SIZE = 32
BLOCK_SIZES = (16, 32, 64, 128, 256)
"""What MatMulNBits has kernels for."""


@dataclass(frozen=True)
class Order:
    """A precision, the processor that is to serve it, and how it is to be reached."""

    precision: Precision
    target: TargetName
    way: Way = "auto"
    """static: ranges of activations measured beforehand; dynamic: at each run; weights: weights alone are quantized."""
    block_size: int | None = None
    """Weights of a column that share a scale, where weights alone are quantized; `BLOCK_SIZE` without."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConchError: a way that the precision or the target does not have, or a block size without a kernel.
        """
        if self.precision == "fp16" and self.way != "auto":
            raise ConchError(f"--quantize {self.way}: fp16 is converted, not quantized; it is for int8 and int4")
        if self.precision == "int4" and self.way in ("static", "dynamic"):
            raise ConchError(
                f"--quantize {self.way}: int4 is for weights alone, --quantize weights; use --precision int8"
            )
        if self.way == "dynamic" and self.target == "gpu":
            raise ConchError("--quantize dynamic: GPUs have no kernels for it; use --quantize static or weights")
        if self.block_size is not None and not self.weights_alone:
            raise ConchError("--block-size is for weights alone: --precision int4, or int8 with --quantize weights")
        if self.block_size not in (None, *BLOCK_SIZES):
            raise ConchError(f"--block-size {self.block_size}: allowed are {', '.join(map(str, BLOCK_SIZES))}")

    @property
    def weights_alone(self) -> bool:
        """Whether activations stay as they are."""
        return self.precision == "int4" or self.way == "weights"

    @property
    def types(self) -> Target:
        """The 8-bit types of the target."""
        return TARGETS[self.target]

    def as_json(self) -> dict[str, Any]:
        """For a fingerprint."""
        return {"precision": self.precision, "target": self.target, "way": self.way, "block_size": self.block_size}
