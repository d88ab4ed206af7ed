"""Memory that a large model's conversion and proof no longer need, given back before the next step takes as much."""

from __future__ import annotations

import contextlib
import ctypes
import gc

from torch import nn

LARGE = 64_000_000
"""Bytes of weights from which on a copy less is worth a moment."""


def weight_bytes(module: nn.Module) -> int:
    """Of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def let_go(module: nn.Module) -> None:
    """Free what a step with a large module left: graphs refer to themselves, and the allocator keeps their pages."""
    if weight_bytes(module) > LARGE:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc's own, see malloc_trim(3)
            ctypes.CDLL(None).malloc_trim(0)
