"""What PyTorch computes on the way: every intermediate value of a module, to be found again in an ONNX graph."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conch.contracts.comparison import distance
from export.proof.budget import largest
from export.proof.float64 import float64_everywhere, float64_module
from training.predict import own_tensors, run_module, slow_path
from training.served import Served

# Relative to the largest value of the tensor. Float32 networks of fifty layers stay below a fifth of it; a weight that
# is off by a thousandth is fifty times above.
DEPARTURE = 2e-5
# Tensors beyond this many elements are not kept: explaining must not need more memory than the model.
KEPT_ELEMENTS = 1 << 24


class TorchValues:
    """All tensors that the operators of a module gave for one set of inputs, in float64 where the module allows it.

    ONNX values have other names, may be transposed and may have axes of size 1 more or less, so a value is looked up
    by its content.
    """

    def __init__(self, served: Served, inputs: Mapping[str, np.ndarray]) -> None:
        self._by_sizes: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
        arrays = [inputs[tensor.name] for tensor in served.inputs]
        try:
            module = float64_module(served)
            arguments = own_tensors(arrays)
            with slow_path(), float64_everywhere(), _Recorder(self._keep):
                module(*(argument.double() if argument.is_floating_point() else argument for argument in arguments))
        except Exception:  # no float64 answer, for any reason the module has
            self._by_sizes.clear()
            with _Recorder(self._keep):
                run_module(served.module, arrays)

    def knows(self, value: np.ndarray) -> bool | None:
        """Whether PyTorch computed this value too, up to the order of its axes; None where the value does not tell."""
        if not telling(value):
            return None
        squeezed = value.squeeze()
        bound = largest(value)
        for known in self._by_sizes.get(_sizes(value.shape), ()):
            scale = largest(known)
            # Rounded to whole numbers, two right values may differ by one.
            allowed = DEPARTURE * scale if value.dtype.kind == "f" else 1.0
            if abs(scale - bound) > allowed:
                continue
            for order in itertools.permutations(range(known.ndim)):
                turned = known.transpose(order)
                if turned.shape == squeezed.shape and distance(squeezed, turned) <= allowed:
                    return True
        return False

    def _keep(self, tensor: torch.Tensor) -> None:
        if not tensor.is_complex() and 0 < tensor.numel() <= KEPT_ELEMENTS:
            array = tensor.detach().to(torch.float64).numpy().squeeze().copy()
            self._by_sizes[_sizes(array.shape)].append(array)


def telling(value: np.ndarray) -> bool:
    """Whether a value says something of the path it came: shapes, indices and constant fillings do not."""
    if value.dtype.kind == "f" and value.size == 1:
        return bool(value.flat[0] != 0)
    numbers = value.dtype.kind == "f" or (value.dtype.kind in "iu" and value.ndim > 1)
    return numbers and value.size > 1 and not bool(np.all(value == value.flat[0]))


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(size for size in shape if size != 1))


class _Recorder(TorchDispatchMode):
    """Hands every tensor that an operator gives to `keep`."""

    def __init__(self, keep: Any) -> None:
        super().__init__()
        self._keep = keep

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._keep(leaf)
        return result
