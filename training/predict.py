"""Adapters that make a `Predict` of a torch module or of anything that takes limited batches.

However the kit runs a module, it does so by `run_module`: on arrays of its own and without fused kernels. What is
compared is then run in one way, and a module that writes into its input changes nobody else's.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from training.score import Predict
from training.served import Served
from training.states import step_by_step


def judged_predict(served: Served, predict: Predict) -> Predict:
    """What a recipe's score asks: runs of `predict` in batches that the model takes, and of one with states whole
    sequences, [sequences, steps, ...] of what is no state, each from zero states."""
    batched = in_batches(predict, served.largest_batch)
    return over_sequences(served, batched) if served.states else batched


def over_sequences(served: Served, predict: Predict) -> Predict:
    """Whole sequences through `predict`, which takes a step of all of them, their states handed from run to run."""
    kept = {state.input for state in served.states}
    zeros = {
        tensor.name: np.zeros((1, *tensor.shape[1:]), tensor.dtype)  # type: ignore[arg-type]  # all fixed
        for tensor in served.inputs
        if tensor.name in kept
    }

    def whole(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        sequences = len(next(iter(steps.values())))
        states = {name: zero.repeat(sequences, 0) for name, zero in zeros.items()}

        def step(_: int, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            outputs = predict({**inputs, **states})
            states.update({state.input: outputs[state.output] for state in served.states})
            return {tensor.name: outputs[tensor.name] for tensor in served.answers}

        return step_by_step(steps, step)

    return whole


def torch_predict(served: Served) -> Predict:
    """Run a served module with PyTorch, in batches of its largest size."""
    return in_batches(lambda inputs: run_served(served, inputs), served.largest_batch)


def run_served(served: Served, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One run of a served module, on arrays as its inputs are declared."""
    outputs = run_module(served.module, (inputs[tensor.name] for tensor in served.inputs))
    return named_arrays(served, outputs)


def run_module(module: torch.nn.Module, arrays: Iterable[np.ndarray]) -> Any:
    """What `module` returns for these arguments, in inference mode."""
    with slow_path(), torch.inference_mode():
        return module(*own_tensors(arrays))


def forward_signature(module: torch.nn.Module) -> inspect.Signature:
    """That of forward; a compiled script's by its schema, and any arguments of what tells none."""
    if isinstance(module, torch.jit.ScriptModule):
        script: Any = module.forward
        return inspect.Signature(
            [
                inspect.Parameter(one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_default(one))
                for one in script.schema.arguments[1:]  # the first is the module
            ]
        )
    try:
        return inspect.signature(module.forward)
    except (ValueError, TypeError):
        return inspect.signature(lambda *args, **kwargs: None)


def _default(argument: Any) -> Any:
    return argument.default_value if argument.has_default_value() else inspect.Parameter.empty


def own_tensors(arrays: Iterable[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Tensors with memory of their own: `torch.from_numpy` alone lends the array's, to be written into."""
    return tuple(torch.from_numpy(np.array(array, order="C")) for array in arrays)


def named_arrays(served: Served, outputs: torch.Tensor | Iterable[torch.Tensor]) -> dict[str, np.ndarray]:
    """Outputs by name; copies, for a module may return a buffer that its next run changes."""
    tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return {
        tensor.name: output.numpy(force=True).copy() for tensor, output in zip(served.outputs, tensors, strict=True)
    }


@contextlib.contextmanager
def slow_path() -> Iterator[None]:
    """Without the fused kernels that `torch.nn`'s transformer layers run in eval mode.

    They have no ONNX operator, and they answer otherwise: where a position is padding the nested tensors of
    `nn.TransformerEncoder` give zeros and its layers, run one by one, what they compute there.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def in_batches(predict: Predict, size: int) -> Predict:
    """Split the rows into batches of at most `size` and join the outputs again; 0 runs each item, without its axis."""
    if size == 0:
        return in_batches(one_item(predict), 1)

    def batched(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        parts = [
            predict({name: array[start : start + size] for name, array in inputs.items()})
            for start in range(0, rows, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return batched


def one_item(predict: Predict) -> Predict:
    """The same for arrays of one item each, axis 0 the item, of a `predict` that knows no such axis."""

    def alone(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = predict({name: np.asarray(array[0]) for name, array in inputs.items()})
        return {name: np.asarray(array)[np.newaxis] for name, array in outputs.items()}

    return alone
