"""A mock of a GPU's memory, in that of the host, which no server can open: `clients.shared_memory.cuda.Device`."""

import numpy as np


class MockDevice:
    """Counts what is allocated and not freed."""

    def __init__(self) -> None:
        self.allocated: dict[int, str] = {}

    def allocate(self, name: str, size: int) -> np.ndarray:
        memory = np.zeros(size, np.uint8)
        self.allocated[id(memory)] = name
        return memory

    def handle(self, memory: np.ndarray) -> bytes:
        return b"\x01" * 64

    def free(self, memory: np.ndarray) -> None:
        del self.allocated[id(memory)]

    def write(self, memory: np.ndarray, offset: int, data: np.ndarray) -> None:
        assert data.flags.c_contiguous
        memory[offset : offset + data.nbytes] = data.reshape(-1).view(np.uint8)

    def read(self, memory: np.ndarray, offset: int, data: np.ndarray) -> None:
        data[...] = memory[offset : offset + data.nbytes].view(data.dtype).reshape(data.shape)
