"""CUDA graphs: a run recorded once for each of a few batch sizes and then launched whole, without its many launches.

A recorded run reads and writes the addresses it was recorded with. So each size has buffers of its own, which are
filled before and read after each run; a batch takes the smallest size that it fits into and is padded to it.

Source: onnxruntime.ai, CUDA Execution Provider, "Using CUDA Graphs"; microsoft/onnxruntime
include/onnxruntime/core/session/onnxruntime_run_options_config_keys.h (`gpu_graph_id`);
triton-inference-server/common protobuf/model_config.proto, ModelOptimizationPolicy.Cuda.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnxruntime as ort
from config_values import Config
from graph_tensors import NUMPY_TYPES, ORT_TYPES, configured_dims, open_dims

Arrays = dict[str, np.ndarray]

GRAPH_ID = "gpu_graph_id"
# Two runs to get memory, none of which may be got while the third is recorded.
RUNS_TO_RECORD = 3
NO_GRAPH = "-1"
"""The `gpu_graph_id` of a run that is not recorded. Without any, ONNX Runtime would record it, as number 0."""


def graph_sizes(config: Config) -> list[int]:
    """The batch sizes of `optimization { cuda { graphs: true graph_spec { batch_size } } }`; none without `graphs`.

    Without a `graph_spec` they are those that the warm-up has: the powers of two up to `max_batch_size`, and it.

    Raises:
        ValueError: A size is not of the batches that the model takes, or a `graph_spec` says more than its size.
    """
    cuda = config.get("optimization", {}).get("cuda", {})
    if not cuda.get("graphs", False):
        return []
    most = int(config["max_batch_size"])
    if most == 0:
        raise ValueError("optimization.cuda.graphs needs batches, and max_batch_size is 0: turn graphs off")
    for spec in cuda.get("graph_spec", []):
        if spec.get("input") or spec.get("graph_lower_bound"):
            raise ValueError("optimization.cuda.graph_spec has `input` or `graph_lower_bound`, allowed is batch_size")
        if not 1 <= int(spec.get("batch_size", 0)) <= most:
            raise ValueError(
                f"optimization.cuda.graph_spec has batch_size {spec.get('batch_size', 0)}, allowed are 1 to {most}"
            )
    given = {int(spec["batch_size"]) for spec in cuda.get("graph_spec", [])}
    return sorted(given or {most, *(2**power for power in range(most.bit_length()))})


class GraphBatches:
    """The buffers of each size on one device, and the runs in them.

    Recording happens at once, for all sizes, so that no request waits for it. A recording is known to the thread that
    made it, as ONNX Runtime keeps it: the stub loads a model and runs its requests in one.

    Args:
        config: The model configuration, compared with the graph.
        session: Its session; on a GPU one with the CUDA provider's `enable_cuda_graph`.
        device: ONNX Runtime's name of the device, `cuda`. On `cpu` the same is run without a recording.
        device_id: The device's number.

    Raises:
        ValueError: A tensor has an open axis besides the batch, holds text or is a scalar; the text names it.
    """

    def __init__(self, config: Config, session: ort.InferenceSession, device: str, device_id: int) -> None:
        self._sizes = graph_sizes(config)
        self._inputs, self._outputs = fixed_tensors(config, session)
        self._buffers = {
            # 0 is ONNX Runtime's own; each recording needs another number.
            size: _Buffers(session, size, self._inputs, self._outputs, (device, device_id), graph_id=number)
            for number, size in enumerate(self._sizes, start=1)
        }
        for buffers in self._buffers.values():
            for _ in range(RUNS_TO_RECORD):
                buffers.run()

    def size_for(self, rows: int) -> int | None:
        """The smallest size that `rows` fit into; None for more than the largest, and for none."""
        return next((size for size in self._sizes if size >= rows > 0), None)

    def run(self, size: int, requests: Sequence[Arrays], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs [rows of all requests, ...] of requests that fit into `size` together."""
        buffers = self._buffers[size]
        rows = buffers.fill(requests)
        buffers.run()
        return [buffers.read(name, rows) for name in outputs]


class _Buffers:
    """The memory of one batch size, bound once."""

    def __init__(
        self,
        session: ort.InferenceSession,
        size: int,
        inputs: dict[str, tuple[list[int], str]],
        outputs: dict[str, tuple[list[int], str]],
        device: tuple[str, int],
        graph_id: int,
    ) -> None:
        self._session = session
        self._gathered = {name: np.zeros((size, *dims), kind) for name, (dims, kind) in inputs.items()}
        self._binding = session.io_binding()
        self._inputs, self._outputs = (
            {
                name: ort.OrtValue.ortvalue_from_shape_and_type([size, *dims], np.dtype(kind), *device)
                for name, (dims, kind) in tensors.items()
            }
            for tensors in (inputs, outputs)
        )
        for name, value in self._inputs.items():
            value.update_inplace(self._gathered[name])
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = ort.RunOptions()
        self._options.add_run_config_entry(GRAPH_ID, str(graph_id))

    def fill(self, requests: Sequence[Arrays]) -> int:
        """Copy the requests' rows in, the last one again to the end; returns how many rows they have.

        A row that the model takes cannot fail where it is repeated; zeros might.
        """
        for name, gathered in self._gathered.items():
            ends = list(accumulate(len(request[name]) for request in requests))
            for request, end in zip(requests, ends, strict=True):
                gathered[end - len(request[name]) : end] = request[name]
            gathered[ends[-1] :] = gathered[ends[-1] - 1]
            self._inputs[name].update_inplace(gathered)
        return ends[-1]

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)

    def read(self, name: str, rows: int) -> np.ndarray:
        """The first rows of an output, in the host's memory and not overwritten by the next run."""
        value = self._outputs[name]
        array = value.numpy()[:rows]  # from a device this is a copy, on the CPU the buffer itself
        return np.array(array) if value.device_name() == "cpu" else array


def fixed_tensors(
    config: Config, session: ort.InferenceSession
) -> tuple[dict[str, tuple[list[int], str]], dict[str, tuple[list[int], str]]]:
    """Name -> dims without the batch and NumPy type of each input and output of the graph; all must be fixed.

    An input's open axis may be one that the configuration fixes.

    Raises:
        ValueError: As `GraphBatches` says.
    """
    entries = {entry["name"]: entry for entry in (*config["input"], *config["output"])}
    if config.get("batch_input") or any(entry.get("optional", False) for entry in config["input"]):
        raise ValueError("CUDA graphs need the same inputs in every run: turn batch_input and optional inputs off")
    found: tuple[dict[str, tuple[list[int], str]], ...] = ({}, {})
    for tensors, kind, into in zip(
        (session.get_inputs(), session.get_outputs()), ("input", "output"), found, strict=True
    ):
        for tensor in tensors:
            dims = open_dims(tensor)[1:]
            if entry := entries.get(tensor.name):
                configured = [int(d) for d in entry["reshape"].get("shape", [])] if "reshape" in entry else None
                dims = configured_dims(entry) if configured is None else configured
            numpy_type = NUMPY_TYPES.get(ORT_TYPES.get(tensor.type, ""))
            if not tensor.shape or min(dims, default=1) < 1 or numpy_type is None:
                shape = ["batch", *dims] if tensor.shape else []
                raise ValueError(
                    f"{kind} '{tensor.name}' is {tensor.type} {shape}, CUDA graphs need numbers with a batch axis and "
                    "all others fixed: turn optimization.cuda.graphs off"
                )
            into[tensor.name] = (dims, numpy_type)
    return found[0], found[1]
