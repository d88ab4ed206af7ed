"""One caller's connection over each transport, and the request that it sends again and again.

Source: docs/protocol/extension_shared_memory.md of triton-inference-server/server.
"""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Callable
from typing import Any, Protocol

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype, shared_memory

from clients.access import Door
from clients.address import Address
from loadtest.errors import RequestFailed
from loadtest.golden import Golden
from loadtest.wire import GrpcWire, HttpWire, Outputs, pack
from tests.bench.gpu.plan import CUDA, GRPC, HTTP, SYSTEM

TIMEOUT_SECONDS = 30.0
_NUMBERS = itertools.count()


class Caller(Protocol):
    """A connection with one request; it belongs to the greenlet that made it."""

    def call(self) -> Any:
        """Send the request and wait for the answer. Raises RequestFailed or OSError."""

    def answer(self) -> Outputs:
        """Send it once and read the outputs."""

    def close(self) -> None:
        """Give the connection back, and memory that was shared."""


def connect(transport: str, address: str, golden: Golden, item: int) -> Caller:
    """A caller of one golden item.

    Args:
        address: host:port of the server's HTTP or gRPC service, whichever `transport` uses.

    Raises:
        RequestFailed: the server, or this machine, does not have this transport.
    """
    if transport in (HTTP, GRPC):
        return _Plain(transport, address, golden, item)
    return _Shared({SYSTEM: _SystemMemory, CUDA: _CudaMemory}[transport], address, golden, item)


def _door(transport: str, address: str) -> Door:
    return Door(Address("http" if transport == HTTP else "grpc", address))


class _Plain:
    """Tensors travel with the request and the answer."""

    def __init__(self, transport: str, address: str, golden: Golden, item: int) -> None:
        self._wire: Any = (HttpWire if transport == HTTP else GrpcWire)(_door(transport, address), TIMEOUT_SECONDS)
        self._packed = pack("http" if transport == HTTP else "grpc", golden, [item])
        self.answer: Callable[[], Outputs] = self.call

    def call(self) -> Outputs:
        outputs: Outputs = self._wire.send(self._packed)
        return outputs

    def close(self) -> None:
        self._wire.close()


class _Shared(GrpcWire):
    """Tensors stay in memory that caller and server share; gRPC carries where they lie."""

    def __init__(self, memory: type[Any], address: str, golden: Golden, item: int) -> None:
        super().__init__(_door(GRPC, address), TIMEOUT_SECONDS)
        inputs, self._outputs = golden.questions([item]), golden.answers([item])
        sizes = [array.nbytes for array in (*inputs.values(), *self._outputs.values())]
        self._name = f"conch-bench-{os.getpid()}-{next(_NUMBERS)}"
        self._memory = memory(self._name, sum(sizes), list(inputs.values()))
        self._offset = sum(array.nbytes for array in inputs.values())
        self._ask(self._memory.register)
        self._request = service_pb2.ModelInferRequest(model_name=golden.model, model_version=golden.version)
        offset = 0
        for name, array in inputs.items():
            tensor = self._request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            offset = self._place(tensor.parameters, array, offset)
        for name, array in self._outputs.items():
            offset = self._place(self._request.outputs.add(name=name).parameters, array, offset)

    def _place(self, parameters: Any, array: np.ndarray, offset: int) -> int:
        parameters["shared_memory_region"].string_param = self._name
        parameters["shared_memory_byte_size"].int64_param = array.nbytes
        parameters["shared_memory_offset"].int64_param = offset
        return offset + array.nbytes

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._stub)
        except grpc.RpcError as error:
            raise RequestFailed(f"{error.code().name}: {error.details()}") from error

    def call(self) -> Any:
        """Send the request; its answer is empty but for names and shapes."""
        return self._ask(lambda stub: stub.ModelInfer(self._request, timeout=self._timeout))

    def answer(self) -> Outputs:
        """The outputs as they lie in the shared memory after one call."""
        self._memory.clear(self._offset, list(self._outputs.values()))
        self.call()
        found, offset = {}, self._offset
        for name, array in self._outputs.items():
            found[name] = self._memory.read(array, offset)
            offset += array.nbytes
        return found

    def close(self) -> None:
        """Take the region back from the server, then free it."""
        try:
            self._ask(self._memory.unregister)
        finally:
            self._memory.free()
            super().close()


class _SystemMemory:
    """A region under /dev/shm."""

    def __init__(self, name: str, size: int, inputs: list[np.ndarray]) -> None:
        self._name, self._size = name, size
        self._region = shared_memory.create_shared_memory_region(name, name, size, create_only=True)
        shared_memory.set_shared_memory_region(self._region, inputs)

    def register(self, stub: Any) -> None:
        stub.SystemSharedMemoryRegister(
            service_pb2.SystemSharedMemoryRegisterRequest(name=self._name, key=self._name, byte_size=self._size)
        )

    def unregister(self, stub: Any) -> None:
        stub.SystemSharedMemoryUnregister(service_pb2.SystemSharedMemoryUnregisterRequest(name=self._name))

    def clear(self, offset: int, outputs: list[np.ndarray]) -> None:
        """Zeros where the outputs go: an answer that was not written is not taken for one."""
        shared_memory.set_shared_memory_region(self._region, [np.zeros_like(array) for array in outputs], offset)

    def read(self, like: np.ndarray, offset: int) -> np.ndarray:
        found: np.ndarray = shared_memory.get_contents_as_numpy(self._region, like.dtype, like.shape, offset)
        return found.copy()

    def free(self) -> None:
        shared_memory.destroy_shared_memory_region(self._region)


class _CudaMemory:
    """A region in the first GPU's memory, which the server maps by its handle."""

    def __init__(self, name: str, size: int, inputs: list[np.ndarray]) -> None:
        try:
            from tritonclient.utils import cuda_shared_memory
        except RuntimeError as error:
            raise RequestFailed("CUDA shared memory needs the package cuda-python: make setup ACCEL=gpu") from error
        self._cuda, self._name, self._size = cuda_shared_memory, name, size
        self._region = cuda_shared_memory.create_shared_memory_region(name, size, 0)
        self._inputs = inputs
        cuda_shared_memory.set_shared_memory_region(self._region, inputs)

    def register(self, stub: Any) -> None:
        handle = base64.b64decode(self._cuda.get_raw_handle(self._region))
        stub.CudaSharedMemoryRegister(
            service_pb2.CudaSharedMemoryRegisterRequest(
                name=self._name, raw_handle=handle, device_id=0, byte_size=self._size
            )
        )

    def unregister(self, stub: Any) -> None:
        stub.CudaSharedMemoryUnregister(service_pb2.CudaSharedMemoryUnregisterRequest(name=self._name))

    def clear(self, offset: int, outputs: list[np.ndarray]) -> None:
        """Zeros where the outputs go; the region is written from its beginning, so the inputs are written again."""
        assert offset == sum(array.nbytes for array in self._inputs)
        zeros = [np.zeros_like(array) for array in outputs]
        self._cuda.set_shared_memory_region(self._region, [*self._inputs, *zeros])

    def read(self, like: np.ndarray, offset: int) -> np.ndarray:
        whole = self._cuda.get_contents_as_numpy(self._region, np.uint8, [self._size])
        found: np.ndarray = whole[offset : offset + like.nbytes].view(like.dtype).reshape(like.shape)
        return found

    def free(self) -> None:
        self._cuda.destroy_shared_memory_region(self._region)
