"""The same module in float64: the reference that PyTorch's and ONNX Runtime's float32 are both measured against."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from conch.contracts.errors import ConchError
from training.predict import in_batches, named_arrays, own_tensors, slow_path
from training.recipe import Predict, Served

_WIDE: dict[torch.dtype, torch.dtype] = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


class NoFloat64Error(ConchError):
    """The module cannot be run in float64; the message says why."""


class Float64Mode(TorchDispatchMode):
    """Every operator that runs inside computes in float64, whatever dtypes the module's code names.

    Below autograd PyTorch shows each operator with its arguments. There narrow dtypes are replaced in both tensors and
    arguments, so `.float()`, `dtype=torch.float32` and tensors that are neither parameters nor buffers are covered.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for index, argument in enumerate(func._schema.arguments):
            written = argument.alias_info is not None and argument.alias_info.is_write
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            if written and isinstance(value, torch.Tensor) and value.dtype in _WIDE:
                raise NoFloat64Error(f"{func} writes into a {value.dtype} tensor that is no parameter or buffer")
        args, kwargs = tree_map(widen, (args, kwargs))
        return func(*args, **kwargs)


def widen(value: Any) -> Any:
    """A tensor or dtype as float64, where it is of fewer bits; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(_WIDE[value.dtype]) if value.dtype in _WIDE else value
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


@contextlib.contextmanager
def float64_everywhere() -> Iterator[None]:
    """Run PyTorch's operators in float64; tensors made without a dtype are float64 as well."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), Float64Mode():
            yield
    finally:
        torch.set_default_dtype(before)


WEIGHTED = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Embedding)
"""What does with its weight nothing but compute."""
LARGE_BYTES = 1 << 20


def float64_module(served: Served, share: bool = False) -> torch.nn.Module:
    """A copy of the served module with float64 parameters and buffers.

    Args:
        share: have the large weights of what is in `WEIGHTED` in common with the served module, as they are:
            `Float64Mode` widens each where it is used, and no more than one at a time is there twice.

    Raises:
        NoFloat64Error: it cannot be copied.
    """
    parts = served.module.modules() if share else ()
    weights = [part.weight for part in parts if isinstance(part, WEIGHTED)]
    shared = {id(weight): weight for weight in weights if weight.nbytes >= LARGE_BYTES}
    try:
        # What is in the memo counts as copied.
        module = copy.deepcopy(served.module, dict(shared))
        return module._apply(
            lambda tensor: tensor.double() if tensor.is_floating_point() and id(tensor) not in shared else tensor
        )
    except Exception as error:  # a module may hold anything, and copying may raise anything
        raise NoFloat64Error(f"the module cannot be copied: {_one_line(error)}") from error


def float64_predict(served: Served) -> Predict:
    """A `Predict` of the module in float64; integer inputs and outputs keep their dtypes.

    Raises:
        NoFloat64Error: the module cannot be copied or does not run in float64.
    """
    with contextlib.suppress(NoFloat64Error):
        return _runs(served, float64_module(served, share=True))
    return _runs(served, float64_module(served))  # its own code may have looked at its weights' dtype


def _runs(served: Served, module: torch.nn.Module) -> Predict:
    """A `Predict` of `module`, which has run once."""

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arguments = [widen(tensor) for tensor in own_tensors(inputs[tensor.name] for tensor in served.inputs)]
        with slow_path(), float64_everywhere():
            return named_arrays(served, module(*arguments))

    batched = in_batches(predict, served.largest_batch)
    try:
        batched({tensor.name: served.examples[tensor.name][:1] for tensor in served.inputs})
    except Exception as error:  # whatever its operators raise on another dtype
        raise NoFloat64Error(f"the module does not run in float64: {_one_line(error)}") from error
    return batched


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
