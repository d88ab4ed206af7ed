"""Adapters that make a `Predict` of a torch module or of anything that takes limited batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from training.score import Predict
from training.served import Served


def torch_predict(served: Served) -> Predict:
    """Run a served module with PyTorch, in batches of its largest size."""

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = served.module(*(torch.from_numpy(inputs[tensor.name]) for tensor in served.inputs))
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return {tensor.name: output.numpy() for tensor, output in zip(served.outputs, outputs, strict=True)}

    return in_batches(predict, served.largest_batch)


def in_batches(predict: Predict, size: int) -> Predict:
    """Split the rows into batches of at most `size` and join the outputs again."""

    def batched(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        parts = [
            predict({name: array[start : start + size] for name, array in inputs.items()})
            for start in range(0, rows, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return batched
