"""Run the graph for the requests that Triton batched: joined into one run, the outputs split again.

What needs no check for each request: Triton's core has compared its names, types, shapes and batch size with the
configuration and batches only requests of equal shapes (but for ragged inputs), and `graph_tensors.check_config` has
compared the configuration with the graph.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import onnxruntime as ort
from config_values import Config
from cuda_graphs import GraphBatches
from device_memory import DeviceRuns, Placed, is_on_device, on_host
from graph_tensors import configured_dims
from ragged import Ragged

Arrays = dict[str, np.ndarray]


class Runner:
    """One model instance's session, and what is known beforehand of its tensors.

    Args:
        config: The model configuration, compared with the graph.
        session: Its session.
        options: ONNX Runtime's options of each run.
        graphs: Buffers for the batch sizes that have a CUDA graph, None without.
        device: Runs of what lies in the memory of the instance's GPU, None on the CPU.
    """

    def __init__(
        self,
        config: Config,
        session: ort.InferenceSession,
        options: ort.RunOptions | None = None,
        graphs: GraphBatches | None = None,
        device: DeviceRuns | None = None,
    ) -> None:
        self._session = session
        self._options = options
        self._graphs = graphs
        self._device = device
        self._batched = config["max_batch_size"] > 0
        inputs = [*session.get_inputs(), *session.get_overridable_initializers()]
        self._strings = {tensor.name for tensor in inputs if tensor.type == "tensor(string)"}
        self._scalars = {tensor.name for tensor in inputs if not tensor.shape}
        scalar_outputs = {tensor.name for tensor in session.get_outputs() if not tensor.shape}
        # Triton has no empty shape: a scalar is answered in its configured dims, which are all 1.
        self._scalar_dims = {
            entry["name"]: configured_dims(entry) for entry in config["output"] if entry["name"] in scalar_outputs
        }
        self._ragged = Ragged(config)
        self._optional = any(entry.get("optional", False) for entry in config["input"])
        # A number that is one for the whole run cannot stand for several requests.
        self._joins = self._batched and not self._scalars and not self._scalar_dims

    def run_placed(self, requests: Sequence[Placed], outputs: Sequence[str]) -> list[Placed | Exception]:
        """As `run`, of requests on a GPU's instance, whose inputs may lie in its memory.

        One alone is run where it lies, and its outputs stay there. Several are joined in the host's memory: to join
        them on the device would need kernels that ONNX Runtime does not offer outside a graph.
        """
        in_place = self._device is not None and self._device.possible and not self._ragged
        if self._device and in_place and len(requests) == 1 and is_on_device(requests[0]):
            try:
                return [self._device.run(requests[0], outputs)]
            except Exception as error:
                return [error]
        return [*self.run([on_host(request) for request in requests], outputs)]

    def run(self, requests: Sequence[Arrays], outputs: Sequence[str]) -> list[Arrays | Exception]:
        """The outputs of each request, in order, or the error of one that fails.

        If a joint run fails each request is run alone, so that one which breaks the graph fails only itself.

        Args:
            requests: The inputs of each request, [rows, ...] where the model is batched.
            outputs: Names of the outputs to compute.
        """
        if len(requests) > 1 and self._joins and not (self._optional and _names_differ(requests)):
            try:
                return [*self._together(requests, outputs)]
            except Exception:  # whatever one request provokes must not reach the others
                pass
        return [self._alone(request, outputs) for request in requests]

    def _alone(self, request: Arrays, outputs: Sequence[str]) -> Arrays | Exception:
        try:
            return next(iter(self._together([request], outputs)))
        except Exception as error:
            return error

    def _together(self, requests: Sequence[Arrays], outputs: Sequence[str]) -> Iterable[Arrays]:
        name = next(iter(requests[0]), "")
        rows = [len(request[name]) for request in requests] if self._batched else []
        if self._graphs and (size := self._graphs.size_for(sum(rows))):
            results = self._graphs.run(size, requests, outputs)
        else:
            results = self._session.run(outputs, self._feeds(requests), self._options)
        if not self._batched:
            return [
                {
                    name: array.reshape(self._scalar_dims.get(name, array.shape))
                    for name, array in zip(outputs, results, strict=True)
                }
            ]
        if len(outputs) == 1 and not self._ragged.scattered:  # the usual model, and the least work for each request
            return [{outputs[0]: piece} for piece in self._split(outputs[0], results[0], rows)]
        columns = [
            self._ragged.split(name, array, requests)
            if name in self._ragged.scattered
            else self._split(name, array, rows)
            for name, array in zip(outputs, results, strict=True)
        ]
        return [dict(zip(outputs, pieces, strict=True)) for pieces in zip(*columns, strict=True)]

    def _feeds(self, requests: Sequence[Arrays]) -> Arrays:
        """The inputs of one run."""
        feeds = requests[0]
        if self._ragged:
            feeds = self._ragged.join(requests)
        elif len(requests) > 1:
            feeds = {name: np.concatenate([request[name] for request in requests]) for name in feeds}
        for name in self._strings:
            if name in feeds:
                feeds = feeds | {name: _text(name, feeds[name])}
        for name in self._scalars:
            if name in feeds:
                feeds = feeds | {name: _scalar(name, feeds[name])}
        return feeds

    def _split(self, name: str, array: np.ndarray, rows: list[int]) -> list[np.ndarray]:
        """The rows of each request. They are contiguous: a slice is a view, which Triton's stub copies once."""
        if name in self._scalar_dims:
            return [np.full((rows[0], *self._scalar_dims[name]), array)]
        ends = list(accumulate(rows))
        if array.shape[:1] != (ends[-1],):
            raise ValueError(f"output '{name}' has shape {list(array.shape)} for a batch of {ends[-1]}")
        if len(rows) == 1:
            return [array]
        return [array[end - count : end] for count, end in zip(rows, ends, strict=True)]


def _names_differ(requests: Sequence[Arrays]) -> bool:
    return any(request.keys() != requests[0].keys() for request in requests)


def _scalar(name: str, array: np.ndarray) -> np.ndarray:
    """The one number of a run, of an array that repeats it for each row."""
    if (array != array.flat[0]).any():
        raise ValueError(f"input '{name}' is one value for all rows of a request, got different ones")
    return array.ravel()[:1].reshape(())


def _text(name: str, array: np.ndarray) -> np.ndarray:
    """Triton's bytes as ONNX Runtime's text: UTF-8, any character allowed, NUL too."""
    try:
        text = [value.decode() for value in array.ravel()]
    except UnicodeDecodeError as error:
        raise ValueError(f"input '{name}' holds text that is not UTF-8: {error}") from error
    return np.array(text, dtype=object).reshape(array.shape)
