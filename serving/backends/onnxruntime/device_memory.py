"""Requests whose inputs lie in a GPU's memory: from CUDA shared memory, or from the model before in an ensemble.

Triton hands such inputs over where they are if the configuration has the parameter `FORCE_CPU_ONLY_INPUT_TENSORS` as
`no`; its Python backend reads that before it asks for auto-completion, so that it has to be in config.pbtxt.

Source: triton-inference-server/python_backend README, "Input Tensor Device Placement" and "Interoperability and GPU
Support"; onnxruntime.ai, API, I/O Binding.
"""

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

# The widest load of a CUDA kernel. A client may put a tensor anywhere in its region of shared memory.
ALIGNMENT = 16

Placed = Mapping[str, np.ndarray | ort.OrtValue]
"""The inputs of a request: arrays in the host's memory, values in a device's."""


def take(tensor: Any, booleans: Collection[str] = ()) -> np.ndarray | ort.OrtValue:
    """A tensor of Triton's Python backend without a copy, where it lies.

    Args:
        tensor: A `triton_python_backend_utils.Tensor`. What it is a view of lives as long as its request.
        booleans: Names of the inputs that are TYPE_BOOL. In DLPack these are bytes, if nobody tells.
    """
    if tensor.is_cpu():
        array: np.ndarray = tensor.as_numpy()
        return array
    if tensor.name() in booleans:
        return ort.OrtValue.from_dlpack(SimpleNamespace(dtype="bool", __dlpack__=tensor.__dlpack__))
    return ort.OrtValue.from_dlpack(tensor)


def on_host(request: Placed) -> dict[str, np.ndarray]:
    """The inputs of a request, those of a device copied from it."""
    return {name: value.numpy() if isinstance(value, ort.OrtValue) else value for name, value in request.items()}


def is_on_device(request: Placed) -> bool:
    """Whether one of the inputs lies in a device's memory."""
    return any(isinstance(value, ort.OrtValue) for value in request.values())


class DeviceRuns:
    """Runs of one request whose inputs lie on the device, its outputs left there.

    The outputs of other requests are taken to the host at once: HTTP and gRPC carry them from there, so that leaving
    them on the device would only add a step, Triton's own copy. A request that comes in a device's memory has its
    outputs wanted there: the client gives regions of CUDA shared memory for both, the next model of an ensemble may
    run there as well.

    Args:
        session: The session.
        device: ONNX Runtime's name of the device, `cuda`.
        device_id: Its number.
        options: ONNX Runtime's options of each run.
    """

    def __init__(
        self, session: ort.InferenceSession, device: str, device_id: int, options: ort.RunOptions | None = None
    ) -> None:
        self._session = session
        self._device = device, device_id
        self._options = options
        self.possible = all(
            tensor.shape and tensor.type != "tensor(string)"
            for tensor in (*session.get_inputs(), *session.get_overridable_initializers(), *session.get_outputs())
        )
        """Whether all tensors can be bound as they come: scalars and text are changed on the way."""

    def run(self, request: Placed, outputs: Sequence[str]) -> dict[str, ort.OrtValue]:
        """The outputs of one request, in the device's memory. The run has ended when this returns."""
        binding = self._session.io_binding()
        for name, value in request.items():
            if not isinstance(value, ort.OrtValue):
                binding.bind_cpu_input(name, value)
            elif value.data_ptr() % ALIGNMENT:
                binding.bind_cpu_input(name, value.numpy())
            else:
                binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, *self._device)
        self._session.run_with_iobinding(binding, self._options)
        return dict(zip(outputs, binding.get_outputs(), strict=True))
