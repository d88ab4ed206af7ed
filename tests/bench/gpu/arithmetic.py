"""What one item of a model costs at the least: multiplications and additions, and bytes to and from memory.

Counted are the operators that have weights or multiply tensors (convolutions, matrix products), by
`torch.utils.flop_counter`; what stands between them can be fused into them. Each reads its inputs and writes its
output once.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from training.predict import slow_path
from training.recipe import Served


class _Counter(TorchDispatchMode):
    """Sums the operations and elements of every operator that does arithmetic on tensors."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.flops = self.elements = 0
        self._weights = weights

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
            tensors = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, torch.Tensor)]
            self.elements += sum(
                tensor.numel() for tensor in tensors if tensor.untyped_storage().data_ptr() not in self._weights
            )
        return result


def count(served: Served) -> dict[str, int]:
    """Of one item: `flops` (a multiplication with its addition are two), `elements` that the operators read and write,
    and `weights`, which a batch reads once."""
    parameters = list(served.module.parameters())
    with (
        warnings.catch_warnings(action="ignore"), torch.no_grad(), slow_path(),
        # Without MKL-DNN an LSTM is the matrix products that it consists of.
        torch.backends.mkldnn.flags(enabled=False),
        _Counter({parameter.untyped_storage().data_ptr() for parameter in parameters}) as counter,
    ):  # fmt: skip
        served.module(*(torch.from_numpy(served.examples[tensor.name][:1]) for tensor in served.inputs))
    weights = sum(parameter.numel() for parameter in parameters)
    return {"flops": counter.flops, "elements": counter.elements, "weights": weights}
