"""A region in the memory of the first GPU, which server and client open by a handle of the driver."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from clients.calls import MemoryRequest
from clients.errors import ClientError, NoSharedMemory
from clients.shared_memory.owner import Owner
from clients.shared_memory.region import Record, Region


class Device:
    """The first GPU, by tritonclient's library and NVIDIA's Python bindings. Raises NoSharedMemory without them."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
            from tritonclient.utils import cuda_shared_memory
        except (ImportError, RuntimeError) as error:
            raise NoSharedMemory(
                f"shared_memory='cuda' needs a GPU and NVIDIA's bindings ({error}): pip install 'tritonclient[cuda]', "
                "or shared_memory=True"
            ) from error
        self._runtime, self._library = runtime, cuda_shared_memory

    def allocate(self, name: str, size: int) -> Any:
        """So much memory, by the library's own record of it; other processes can open it."""
        return self._library.create_shared_memory_region(name, size, 0)

    def handle(self, memory: Any) -> bytes:
        """What they open it by."""
        return base64.b64decode(self._library.get_raw_handle(memory))

    def free(self, memory: Any) -> None:
        """Give it back; a server that has it open still may not use it any more."""
        self._library.destroy_shared_memory_region(memory)

    def write(self, memory: Any, offset: int, data: np.ndarray) -> None:
        """Copy contiguous data there."""
        self._check(
            self._runtime.cudaMemcpy(
                memory._base_addr + offset,
                data.ctypes.data,
                data.nbytes,
                self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice,
            )
        )

    def read(self, memory: Any, offset: int, data: np.ndarray) -> None:
        """Copy what is there into contiguous `data`."""
        self._check(
            self._runtime.cudaMemcpy(
                data.ctypes.data,
                memory._base_addr + offset,
                data.nbytes,
                self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost,
            )
        )

    def _check(self, result: tuple[Any, ...]) -> None:
        if int(result[0]):
            raise ClientError(f"the GPU's memory cannot be copied: {result[0]}")


class CudaRegion(Region):
    """As `Region`. Answers are copied out: NumPy reads no memory of a GPU."""

    def __init__(self, device: Device, size: int) -> None:
        self.size, self._device = size, device
        name = Owner.here().new_name()
        try:
            self._memory = Memory(device, name, size)
        except Exception as error:  # the library's own, which tells no more than the driver
            raise ClientError(
                f"no {size / 2**20:,.1f} MiB of the GPU's memory to share ({error.__cause__ or error}); call without "
                "shared_memory='cuda'"
            ) from error
        self.record = Record(MemoryRequest("register", "cuda", name, size, self._memory.handle))
        # A server has to let go of it before it is freed: CUDA's documentation of cudaIpcOpenMemHandle.
        self.record.kept = self._memory

    def put(self, offset: int, array: np.ndarray) -> None:
        self._device.write(self._memory.memory, offset, np.ascontiguousarray(array))

    def put_bytes(self, offset: int, data: bytes) -> None:
        self.put(offset, np.frombuffer(data, np.uint8))

    def copied(self, offset: int, dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
        array = np.empty(tuple(shape), dtype)
        self._device.read(self._memory.memory, offset, array)
        return array

    def interface(self, offset: int, size: int) -> dict[str, Any] | None:
        return None


class Memory:
    """Memory of a GPU, until nobody has it."""

    def __init__(self, device: Device, name: str, size: int) -> None:
        self._device = device
        self.memory = device.allocate(name, size)
        self.handle = device.handle(self.memory)

    def __del__(self) -> None:
        if hasattr(self, "memory"):
            self._device.free(self.memory)
