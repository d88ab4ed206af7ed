"""What one client knows of its shared memory, and of the servers that have it mapped."""

import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Self

import numpy as np

from clients.address import Address
from clients.calls import Inference, MemoryRequest, Operation, Pause, Send, Sending
from clients.deadline import Deadline
from clients.errors import ClientError, NoSharedMemory, Refused, Unreachable
from clients.shared_memory import leaving
from clients.shared_memory.placing import Places, place
from clients.shared_memory.pool import Pool
from clients.shared_memory.region import Record, Region, abandoned, check_supported, remove_leftovers
from clients.signature import Metadata
from clients.transports.transport import Transport

CLEAR_S = 1.0
"""So long servers are given to forget regions that are not used any more."""
AGAIN_S = 0.1
"""After so long one that uses a region still is asked again."""

UNKNOWN = "Unable to find shared memory region"
NOT_OPENED = "Unable to open shared memory region"
THERE = "already in manager"
"""Triton's words for a region that it does not know, cannot open, and has."""


class SharedMemory:
    """Regions of this process, and the servers at which each is registered.

    A forked child begins with none. Threads may share it: a region belongs to one call at a time.

    Args:
        kind: Of memory, as Triton calls it.
        make: A region of so many bytes.
        connect: A transport of its own to clear up with, when the client's cannot be used any more.
        headers: What is sent with a request of now.
    """

    def __init__(
        self,
        kind: Literal["system", "cuda"],
        make: Callable[[int], Region],
        connect: Callable[[], Transport],
        headers: Callable[[], Mapping[str, str]],
    ) -> None:
        self.connect, self._kind = connect, kind
        self._make, self._headers = make, headers
        self._begin()
        leaving.prepare()
        remove_leftovers()

    @classmethod
    def asked(
        cls,
        kind: bool | Literal["cuda"],
        connect: Callable[[], Transport],
        headers: Callable[[], Mapping[str, str]],
    ) -> Self:
        """What `shared_memory` of `connect` asks for. Raises ClientError for what there is none of."""
        if kind is not True and kind != "cuda":
            raise ClientError(f"shared_memory={kind!r}, allowed are False, True and 'cuda'")
        check_supported()
        if kind is True:
            return cls("system", Region, connect, headers)
        from clients.shared_memory.cuda import CudaRegion, Device

        return cls("cuda", partial(CudaRegion, Device()), connect, headers)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._records: dict[str, Record] = {}
        self._looked_at: set[Address] = set()
        self._clear_from = 0.0
        self._pool = Pool(self._made)

    def _made(self, size: int) -> Region:
        region = self._make(size)
        self._records[region.record.name] = region.record
        leaving.expect(self)
        return region

    def place(
        self, metadata: Metadata, parts: Sequence[Mapping[str, np.ndarray]], outputs: Mapping[str, int]
    ) -> Places:
        """As `clients.shared_memory.placing.place`; the regions are another call's when the places are let go."""
        if os.getpid() != self._process:  # the parent's regions are its own
            self._begin()
        return place(self._pool, metadata, parts, outputs)

    def registered(self, requests: Iterable[tuple[Address, Inference]], deadline: Deadline) -> Operation[None]:
        """See that each server knows the regions of its request, and none that nobody uses any more.

        Raises NoSharedMemory. Where a server does not answer, the request itself will tell.
        """
        wanted: dict[Address, dict[str, Record]] = {}
        for address, request in requests:
            for window in [*request.inputs_in.values(), *request.outputs_in.values()]:
                if (record := self._records.get(window.region)) is None:
                    raise ClientError("this client was closed meanwhile; make another with connect()")
                wanted.setdefault(address, {})[window.region] = record
        for address, records in wanted.items():
            if address not in self._looked_at:
                yield from self._look(address, deadline)
            if new := [record for record in records.values() if address not in record.known_at]:
                outcomes = yield self._send([(address, record.registration) for record in new], deadline)
                for record, outcome in zip(new, outcomes, strict=True):
                    if isinstance(outcome, Refused) and THERE not in str(outcome):
                        raise _none(address, outcome)
                    if not isinstance(outcome, Unreachable):
                        record.known_at.add(address)
        if self._pool.retired and time.monotonic() >= self._clear_from:
            yield from self._clear(deadline.within(CLEAR_S))

    def lost(self, address: Address, outcome: ClientError) -> bool:
        """Whether a server refused a request because it was started again since, and has forgotten all regions."""
        if not (isinstance(outcome, Refused) and UNKNOWN in str(outcome)):
            return False
        for record in list(self._records.values()):
            record.known_at.discard(address)
        return True

    def without(self, request: Inference, outcome: ClientError) -> Inference:
        """What is sent instead of a request that got no answer. It is in no memory that the server may be busy with."""
        if not outcome.not_run and isinstance(outcome, Unreachable):
            for window in [*request.inputs_in.values(), *request.outputs_in.values()]:
                if record := self._records.get(window.region):
                    record.doubted = True
        return replace(request, inputs_in={}, outputs_in={})

    def ended(self) -> Operation[None]:
        """Take all names away and have the servers forget them. Answers that are views stay what they are."""
        if os.getpid() != self._process:
            return
        self.let_go()
        deadline = Deadline(CLEAR_S)
        self._pool.retired.extend(self._records.values())
        yield from self._clear(deadline)
        while self._pool.retired and deadline.left() > AGAIN_S:
            yield Pause(AGAIN_S)
            yield from self._clear(deadline)

    def go_with(self, client: object) -> None:
        """Let all go when `client` is collected that nobody has closed; servers are told when the process ends."""
        weakref.finalize(client, self.let_go).atexit = False

    def let_go(self) -> None:
        """Take all names away, and keep no memory."""
        if os.getpid() != self._process:  # those are the parent's, of which another thread may have held the lock
            return
        self._pool.close()
        for record in list(self._records.values()):
            record.unlink()

    def _clear(self, deadline: Deadline) -> Operation[None]:
        """Have servers forget what is retired. One that says that it uses it still is asked again with another call."""
        records = {}
        while self._pool.retired:
            record = self._pool.retired.popleft()
            records[record.name] = record
        pairs = [(address, record) for record in records.values() for address in record.known_at]
        if pairs:
            requests = [(address, _unregister(record.registration)) for address, record in pairs]
            for (address, record), outcome in zip(pairs, (yield self._send(requests, deadline)), strict=True):
                if not isinstance(outcome, Refused):  # one that does not answer has no memory, or is asked by the next
                    record.known_at.discard(address)
        for record in records.values():
            if record.known_at:
                self._pool.retired.append(record)
                self._clear_from = time.monotonic() + CLEAR_S
            else:
                self._records.pop(record.name, None)
        if not self._records:
            leaving.expected.discard(self)

    def _look(self, address: Address, deadline: Deadline) -> Operation[None]:
        """Have a server forget what killed processes had registered there."""
        (found,) = yield self._send([(address, MemoryRequest("regions", self._kind))], deadline)
        if isinstance(found, Refused):
            raise _none(address, found)
        if isinstance(found, Unreachable):
            return
        self._looked_at.add(address)
        if left := [name for name in found if abandoned(name)]:
            yield self._send([(address, MemoryRequest("unregister", self._kind, name)) for name in left], deadline)

    def _send(self, requests: Sequence[tuple[Address, MemoryRequest]], deadline: Deadline) -> Send:
        headers = self._headers()
        return Send([Sending(address, request, deadline, headers) for address, request in requests])


def _unregister(registration: MemoryRequest) -> MemoryRequest:
    return MemoryRequest("unregister", registration.kind, registration.name)


def _none(address: Address, refusal: Refused) -> NoSharedMemory:
    """Why a server and this process share no memory."""
    if NOT_OPENED in str(refusal):
        why = (
            "cannot open this process's: it is on another machine, in a container without --ipc=host, or another "
            f"user's ({refusal})"
        )
    else:
        why = f"does not let it be used: {refusal}"
    return NoSharedMemory(f"shared_memory: the server at {address} {why}; call without shared_memory")
