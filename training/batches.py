"""Shuffled batches of arrays that fit in memory, gathered a batch at a time instead of an example at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler, TensorDataset


class ShuffledBatches(Sampler[list[int]]):
    """Batches of row numbers in an order that depends on seed and epoch alone; Lightning calls `set_epoch`."""

    def __init__(self, rows: int, size: int, seed: int) -> None:
        self.rows, self.size, self.seed = rows, min(size, rows), seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the pass to come."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // self.size

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.rows, generator=generator)
        for batch in range(len(self)):
            yield order[batch * self.size : (batch + 1) * self.size].tolist()


def batches(*arrays: np.ndarray, size: int, shuffle_seed: int | None = None) -> DataLoader[Any]:
    """Batches of `size` rows (axis 0) of all arrays as tensors.

    With `shuffle_seed`, each pass is in another random order and the last, smaller batch is left out: batch
    normalisation over a handful of rows would be noise. Without, rows come in order and all of them.
    """
    # torch does not write through these tensors, which is all that NumPy's read-only flag asks.
    dataset = TensorDataset(*(torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays))
    rows: Sampler[list[int]]
    if shuffle_seed is None:
        rows = BatchSampler(SequentialSampler(dataset), size, drop_last=False)
    else:
        rows = ShuffledBatches(len(dataset), size, shuffle_seed)
    # A generator of its own: without, each pass would draw from the random numbers that the training draws from.
    return DataLoader(dataset, sampler=rows, batch_size=None, generator=torch.Generator())
