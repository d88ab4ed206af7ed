"""The options of `conch export module` that say what an example says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import torch

from export.modules.call import Call, calls_by_name
from export.modules.example_values import number
from export.modules.module_spec import default_range
from export.modules.structure import leaves
from export.modules.taken import Taken, first_that_runs, run_call
from training.predict import forward_signature
from training.tensors import Tensor


def options_of(module: torch.nn.Module, taken: Taken) -> tuple[str, ...]:
    """The options that say the same without the example; empty where no options do."""
    constants = _said_constants(module, taken.call)
    words = [f"--input {shlex.quote(_spec(tensor))}" for tensor in taken.inputs]
    words += [f"--sizes {axis}={','.join(map(str, sizes))}" for axis, sizes in taken.sizes.items()]
    words += [f"--constant {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in constants.items()]
    words += [] if taken.batched else ["--max-batch 0"]
    return tuple(words) if _same(module, taken, constants) else ()


def _same(module: torch.nn.Module, taken: Taken, constants: Mapping[str, Any]) -> bool:
    """Whether the module answers the same when it is called as the options say."""
    if not all(map(_is_json, constants.values())):
        return False
    calls = list(calls_by_name(module, taken.call.names, constants))
    if calls and calls[0].means(taken.call):
        return True
    arrays = taken.arrays(taken.usual)
    call = first_that_runs(module, calls, arrays)
    if call is None:
        return False
    one, other = (list(leaves(run_call(module, each, arrays))) for each in (taken.call, call))
    return [path for path, _ in one] == [path for path, _ in other] and all(
        not isinstance(part, torch.Tensor) or torch.equal(part.nan_to_num(), again.nan_to_num())
        for (_, part), (_, again) in zip(one, other, strict=True)
    )


def _is_json(value: Any) -> bool:
    """Whether a value comes back from JSON as it was."""
    return value is None or isinstance(value, bool | int | float | str)


def _said_constants(module: torch.nn.Module, call: Call) -> dict[str, Any]:
    """What has to be said: without the arguments that forward has by itself."""
    own = {name: parameter.default for name, parameter in forward_signature(module).parameters.items()}
    return {
        name: value
        for name, value in call.constants.items()
        if not (name in own and type(own[name]) is type(value) and own[name] == value)
    }


def _spec(tensor: Tensor) -> str:
    text = f"{tensor.name}:{tensor.dtype}[{','.join(map(str, tensor.shape))}]"
    if (tensor.low, tensor.high) == default_range(tensor.dtype):
        return text
    return f"{text}<{number(tensor.low)},{number(tensor.high)}>"
