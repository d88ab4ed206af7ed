"""Shuffled batches of arrays that fit in memory, gathered a batch at a time instead of an example at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from conch.contracts.errors import ConchError


class ShuffledBatches(Sampler[torch.Tensor]):
    """Batches of row numbers in an order that depends on seed and epoch alone; Lightning calls `set_epoch`.

    Where several processes train, each takes every n-th batch of the same order, and as many as every other.
    """

    def __init__(self, rows: int, size: int, seed: int) -> None:
        self.rows, self.size, self.seed = rows, min(size, rows), seed
        self.epoch = 0
        self.process, self.processes = 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the pass to come."""
        self.epoch = epoch

    def share(self, process: int, processes: int) -> None:
        """Take the batches of one process, numbered from 0, of several.

        Raises:
            ConchError: there are fewer batches than processes.
        """
        batches = self.rows // self.size
        if batches < processes:
            raise ConchError(
                f"an epoch has {batches} batches of {self.size}, {processes} processes cannot share them; take fewer "
                "--devices or a smaller --batch-size"
            )
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return self.rows // self.size // self.processes

    def __iter__(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.rows, generator=generator)
        for turn in range(len(self)):
            batch = turn * self.processes + self.process
            yield order[batch * self.size : (batch + 1) * self.size]


class Rows(Dataset[tuple[torch.Tensor, ...]]):
    """Rows (axis 0) of tensors, many at once: whole rows are copied, which indexing does in eight times as long."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: torch.Tensor | list[int]) -> tuple[torch.Tensor, ...]:
        index = torch.as_tensor(rows)
        return tuple(tensor.index_select(0, index) for tensor in self.tensors)


def batches(*arrays: np.ndarray, size: int, shuffle_seed: int | None = None) -> DataLoader[Any]:
    """Batches of `size` rows (axis 0) of all arrays as tensors.

    With `shuffle_seed`, each pass is in another random order and the last, smaller batch is left out: batch
    normalisation over a handful of rows would be noise. Without, rows come in order and all of them.
    """
    # torch does not write through these tensors, which is all that NumPy's read-only flag asks.
    dataset = Rows(*(torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays))
    rows: Sampler[Any]
    if shuffle_seed is None:
        rows = BatchSampler(SequentialSampler(dataset), size, drop_last=False)
    else:
        rows = ShuffledBatches(len(dataset), size, shuffle_seed)
    # A generator of its own: without, each pass would draw from the random numbers that the training draws from.
    return DataLoader(dataset, sampler=rows, batch_size=None, generator=torch.Generator())
