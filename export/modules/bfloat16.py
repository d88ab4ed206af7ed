"""bfloat16: what NumPy, Triton's ONNX Runtime and most of its operators do not have, and the way out."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from export.conversion.convert import example_inputs, run_inputs
from training.predict import run_module
from training.served import Served

WAY_OUT = (
    "bfloat16 cannot be served; build the module in float32, which holds every bfloat16 weight exactly: "
    "def build(): return Net().float(), without autocast"
)


def holds_bfloat16(module: torch.nn.Module) -> bool:
    """Whether a parameter or buffer is bfloat16."""
    return any(tensor.dtype == torch.bfloat16 for tensor in itertools.chain(module.parameters(), module.buffers()))


def computes_in_bfloat16(served: Served) -> bool:
    """Whether any operator that the module runs on its examples gives bfloat16."""
    sizes = {axis: sizes[-1] for axis, sizes in served.sizes.items()}
    inputs = run_inputs(served, example_inputs(served, 1, sizes))
    seen = _Seen()
    try:
        with seen:
            run_module(served.module, [inputs[tensor.name] for tensor in served.inputs])
    except Exception:  # the user's own code; what was seen before counts
        pass
    return seen.bfloat16


class _Seen(TorchDispatchMode):
    """Whether an operator gave bfloat16."""

    bfloat16 = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        self.bfloat16 = self.bfloat16 or any(leaf.dtype == torch.bfloat16 for leaf in leaves)
        return result
