"""Which 8-bit types the processor that will serve a variant is fast with."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal

from onnxruntime.quantization import QuantType

TargetName = Literal["x86", "x86-vnni", "arm", "gpu"]


@dataclass(frozen=True)
class Target:
    """8-bit types and ranges for static quantization; weights are signed everywhere.

    Source: ONNX Runtime's guidance at `onnxruntime.quantization.quantize_static`.
    """

    activations: QuantType
    symmetric: bool = False
    """Zero is quantized to 0, which TensorRT requires."""
    reduce_range: bool = False
    """Weights of 7 bits. Without VNNI, ONNX Runtime adds two products of an unsigned and a signed byte in 16 bits:
    2 x 255 x 127 saturates there, 2 x 255 x 64 does not. Integers are exact, so every x86-64 gives the same answer."""

    @property
    def weights(self) -> str:
        """Their type in words."""
        return "int8, 7 bits used" if self.reduce_range else "int8"


TARGETS: dict[TargetName, Target] = {
    # VNNI multiplies unsigned by signed bytes: signed activations take a path slower than fp32.
    "x86": Target(QuantType.QUInt8, reduce_range=True),
    "x86-vnni": Target(QuantType.QUInt8),
    "arm": Target(QuantType.QInt8),
    "gpu": Target(QuantType.QInt8, symmetric=True),
}


def this_machine() -> TargetName:
    """The target that this machine's processor is; not the one that only some of its kind are."""
    return "arm" if platform.machine().lower() in ("arm64", "aarch64") else "x86"


def is_for_this_machine(target: TargetName) -> bool:
    """Whether a speed measured here says something of the target."""
    return target.split("-")[0] == this_machine()
