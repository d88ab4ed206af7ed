"""The least time that a device allows for what `tests.bench.gpu.arithmetic` counts."""

from __future__ import annotations

from dataclasses import dataclass

BYTES = {"fp32": 4, "fp16": 2}
"""Of a value, by precision."""


@dataclass(frozen=True)
class Limit:
    """The least time of one run on a device, and what sets it."""

    ms: float
    bound: str
    """"arithmetic" or "memory"."""


def limit(item: dict[str, int], precision: str, batch: int, device: dict[str, float]) -> Limit:
    """Of a run of `batch` items, by what was measured of the device.

    Args:
        item: what `count` gave.
        device: `flops_fp32` and `flops_fp16` a second, `bytes` a second.
    """
    arithmetic = item["flops"] * batch / device[f"flops_{precision}"]
    memory = (item["weights"] + item["elements"] * batch) * BYTES[precision] / device["bytes"]
    return Limit(max(arithmetic, memory) * 1000, "arithmetic" if arithmetic >= memory else "memory")
