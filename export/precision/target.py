"""Which 8-bit types the processor that will serve a variant is fast with."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnxruntime.quantization import QuantType

TargetName = Literal["x86-vnni", "x86", "arm", "gpu"]


@dataclass(frozen=True)
class Target:
    """8-bit types and ranges for static quantization; weights are signed everywhere.

    Source: ONNX Runtime's guidance at `onnxruntime.quantization.quantize_static`.
    """

    activations: QuantType
    symmetric: bool = False
    """Zero is quantized to 0, which TensorRT requires."""
    reduce_range: bool = False
    """Weights of 7 bits: without VNNI, sums of two 8-bit products saturate 16 bits."""


TARGETS: dict[TargetName, Target] = {
    # VNNI multiplies unsigned by signed bytes: signed activations take a path slower than fp32.
    "x86-vnni": Target(QuantType.QUInt8),
    "x86": Target(QuantType.QUInt8, reduce_range=True),
    "arm": Target(QuantType.QInt8),
    "gpu": Target(QuantType.QInt8, symmetric=True),
}


def this_machine() -> TargetName:
    """The target that this machine's processor is."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm"
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return "x86"
    return "x86-vnni" if {"avx512_vnni", "avx_vnni"} & set(flags.split()) else "x86"
