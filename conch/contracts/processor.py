"""The processor on which something was shown: kernels, and with them the last digits of an answer, depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

# What ONNX Runtime's and oneDNN's kernels choose by, the oldest first.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


def processor() -> dict[str, str]:
    """Its architecture, and those instruction sets that kernels choose by ("" where the system does not tell)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next(line for line in lines if line.startswith(("flags", "Features"))).split()
    except (OSError, StopIteration):
        flags = []
    return {
        "architecture": platform.machine(),
        "instruction_sets": " ".join(name for name in _INSTRUCTION_SETS if name in flags),
    }
