"""Where in shared memory a request's tensors are, and how they get there and back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.calls import Window
from clients.shared_memory.pool import Lease, Pool
from clients.signature import Metadata, TensorSpec
from clients.tensors import numpy_type, raw

ALIGNMENT = 64
VIEW_FROM = 1 << 16
"""Bytes of an output from which it is not copied out of its region."""
MOST_LENT = 16
"""So many regions may be kept by answers; others are copied, for memory of this kind is scarce."""


class Placed(Window):
    """A part of a region, lent by `lease`."""

    def __init__(self, lease: Lease, offset: int, size: int) -> None:
        super().__init__(lease.region.record.name, offset, size)
        self._lease = lease

    def array(self, dtype: str, shape: Sequence[int]) -> np.ndarray:
        """What the server wrote there: a view that keeps the region from others as long as it lives, where that is
        worth while. Raises ValueError for what does not fit there."""
        kind = np.dtype(numpy_type(dtype))
        size = math.prod(shape) * kind.itemsize
        if size > self.size:
            raise ValueError("an output that is larger than its place")
        region, pool = self._lease.region, self._lease.pool
        if size >= VIEW_FROM and (region in pool.lent or len(pool.lent) < MOST_LENT):
            interface = region.interface(self.offset, size)
            if interface is not None:
                pool.lent.add(region)
                return np.asarray(_Loan(interface, self._lease)).view(kind).reshape(tuple(shape))
        array = region.copied(self.offset, kind, shape)
        array.flags.writeable = False  # as all answers
        return array


class _Loan:
    """The base of arrays that are views of a region."""

    def __init__(self, interface: dict[str, Any], lease: Lease) -> None:
        self.__array_interface__ = interface
        self._lease = lease


@dataclass(frozen=True)
class Places:
    """Of each of a call's requests, the places of inputs and outputs that are in shared memory."""

    leases: list[Lease]
    parts: list[tuple[Mapping[str, Window], Mapping[str, Window]]]
    """Of the inputs and of the outputs of each."""

    def settle(self) -> None:
        """The server has answered all that was sent, so it is done with the memory."""
        for lease in self.leases:
            lease.settled = True

    def give_up(self, settled: bool) -> None:
        """There is no answer to be a view of it. Said, for an error keeps what was at hand as long as it is kept."""
        for lease in self.leases:
            lease.settled = settled
            lease.end()


def place(
    pool: Pool, metadata: Metadata, parts: Sequence[Mapping[str, np.ndarray]], outputs: Mapping[str, int]
) -> Places:
    """Copy the inputs of a call's requests into one region, and keep room for the outputs in another.

    In the message are tensors without an element, texts that the server gives and other outputs whose size nobody knows
    before. Raises ClientError where there is no room.
    """
    texts = [{name: raw(array) for name, array in part.items() if array.dtype.kind == "O"} for part in parts]
    sizes = [
        {name: len(text[name]) if name in text else array.nbytes for name, array in part.items()}
        for part, text in zip(parts, texts, strict=True)
    ]
    leases: list[Lease] = []
    inputs = _windows(pool, sizes, leases)
    for part, text, windows in zip(parts, texts, inputs, strict=True):
        for name, window in windows.items():
            if name in text:
                leases[0].region.put_bytes(window.offset, text[name])
            else:
                leases[0].region.put(window.offset, part[name])
    specs = [spec for spec in metadata.outputs if outputs.get(spec.name) == 0]
    answered = _windows(pool, [dict(_sizes(specs, part)) for part in parts], leases)
    return Places(leases, list(zip(inputs, answered, strict=True)))


def _windows(pool: Pool, sizes: Sequence[Mapping[str, int]], leases: list[Lease]) -> list[dict[str, Window]]:
    """Places of those sizes one after the other in a region of their own, where there are any."""
    total = sum(_aligned(size) for part in sizes for size in part.values())
    if not total:
        return [{} for _ in sizes]
    lease, offset, found = pool.lease(total), 0, []
    leases.append(lease)
    for part in sizes:
        windows: dict[str, Window] = {}
        for name, size in part.items():
            if size:
                windows[name] = Placed(lease, offset, size)
                offset += _aligned(size)
        found.append(windows)
    return found


def _sizes(specs: Sequence[TensorSpec], part: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int]]:
    """Bytes of each output that are sure before there is an answer."""
    items = len(next(iter(part.values()))) if part else 1
    for spec in specs:
        shape = (items, *spec.shape[1:]) if spec.batched else spec.shape
        if spec.dtype != "BYTES" and -1 not in shape:
            yield spec.name, math.prod(shape) * np.dtype(numpy_type(spec.dtype)).itemsize


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
