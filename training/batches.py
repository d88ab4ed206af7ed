"""Shuffled batches of arrays that fit in memory, gathered a batch at a time instead of an example at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset


def batches(*arrays: np.ndarray, size: int, shuffle_seed: int | None = None) -> DataLoader[Any]:
    """Batches of `size` rows (axis 0) of all arrays as tensors.

    With `shuffle_seed`, each pass is in another random order and the last, smaller batch is left out: batch
    normalisation over a handful of rows would be noise. Without, rows come in order and all of them.
    """
    # torch does not write through these tensors, which is all that NumPy's read-only flag asks.
    dataset = TensorDataset(*(torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays))
    if shuffle_seed is None:
        rows: Any = BatchSampler(SequentialSampler(dataset), size, drop_last=False)
    else:
        generator = torch.Generator().manual_seed(shuffle_seed)
        rows = BatchSampler(RandomSampler(dataset, generator=generator), min(size, len(dataset)), drop_last=True)
    return DataLoader(dataset, sampler=rows, batch_size=None)
