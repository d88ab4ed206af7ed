"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe_machine() -> str:
    """Processor, cores, what it multiplies 8-bit numbers with, and operating system."""
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    facts = {key.strip(): value.strip() for key, value in lines}
    flags = facts.get("flags", "").split()
    known = [name for name in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8") if name in flags]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family', '?')}, model "
        f"{facts.get('model', '?')}; {', '.join(known)}), {cores} cores, {platform.system()}, "
        f"Python {platform.python_version()}"
    )
