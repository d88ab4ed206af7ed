"""A region of POSIX system shared memory: a file in /dev/shm, which is where shm_open(3) has them on Linux."""

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from clients.address import Address
from clients.calls import MemoryRequest
from clients.errors import ClientError, NoSharedMemory
from clients.shared_memory.owner import PREFIX, Owner

FOLDER = Path("/dev/shm")
LIVE: set[str] = set()
"""The names of this process's regions that are in use."""


class Record:
    """What is left to clear up of a region: its name, and the servers that know it."""

    def __init__(self, registration: MemoryRequest) -> None:
        self.registration, self.process = registration, os.getpid()
        self.known_at: set[Address] = set()
        self.kept: object = None
        """What must not be freed before servers have let go of it."""
        self.doubted = False
        """Whether a server may be at work in it still, though the call is over."""
        LIVE.add(self.name)

    @property
    def name(self) -> str:
        return self.registration.name

    def unlink(self) -> None:
        """Take its name away. The memory is there as long as somebody has it mapped."""
        LIVE.discard(self.name)
        if os.getpid() == self.process:
            with suppress(OSError):
                (FOLDER / self.name).unlink()


class Region:
    """`size` bytes under a name of its own. Raises ClientError where there is no room for it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.record = Record(MemoryRequest("register", "system", Owner.here().new_name(), size))
        try:
            self._memory: Any = np.frombuffer(self._mapped(), np.uint8)
        except OSError as error:
            self.record.unlink()
            raise ClientError(
                f"no room for {size / 2**20:,.1f} MiB of shared memory ({error.strerror}): give {FOLDER} more (in a "
                "container --shm-size or --ipc=host), or call without shared_memory"
            ) from error

    def _mapped(self) -> mmap.mmap:
        file = os.open(FOLDER / self.record.name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            # Memory that is there: a sparse file where there is none left kills who writes into it, the server say.
            os.posix_fallocate(file, 0, self.size)
            return mmap.mmap(file, self.size)
        finally:
            os.close(file)

    def put(self, offset: int, array: np.ndarray) -> None:
        """Copy an array there, as KServe has it: the last axis fastest."""
        self._memory[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array

    def put_bytes(self, offset: int, data: bytes) -> None:
        """Copy bytes there."""
        self._memory[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def copied(self, offset: int, dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
        """The array there, in memory of its own."""
        array = np.empty(tuple(shape), dtype)
        array[...] = self._memory[offset : offset + array.nbytes].view(dtype).reshape(array.shape)
        return array

    def interface(self, offset: int, size: int) -> dict[str, Any] | None:
        """NumPy's array interface of the bytes there, to be read alone; None where NumPy cannot read them."""
        address = int(self._memory.ctypes.data) + offset
        return {"version": 3, "typestr": "|u1", "shape": (size,), "data": (address, True)}


def check_supported() -> None:
    """Raises NoSharedMemory where there is no shared memory of this kind."""
    if not (FOLDER.is_dir() and Path("/proc/self/stat").exists()):
        raise NoSharedMemory(f"shared_memory needs Linux with {FOLDER}")


def remove_leftovers() -> None:
    """Those of processes that were killed, whose memory nobody would ever give back."""
    with suppress(OSError):
        for file in FOLDER.glob(f"{PREFIX}-*"):
            if abandoned(file.name):
                with suppress(OSError):
                    file.unlink()


def abandoned(name: str) -> bool:
    """Whether nobody will use the region `name` again."""
    owner = Owner.of(name)
    return owner is not None and name not in LIVE and (owner.gone or owner == Owner.here())
