"""Triton's `onnxruntime` backend in Python: a drop-in where NVIDIA's C++ one is not installed.

Triton loads this file for each instance of each model whose configuration says `backend: "onnxruntime"`, in a process
of its own (the Python backend's stub). It stands alone: nothing of Conch is imported.

One `execute` call gets the requests that Triton batched. They are joined into one run, and the outputs are split
again. If that run fails each request is run alone, so a request that breaks the graph fails only itself.

What needs no check for each request: Triton's core has already compared its names, types, shapes and batch size with
the configuration, and `initialize` compared the configuration with the graph.

Source: triton-inference-server/python_backend README, triton-inference-server/onnxruntime_backend README.
"""

import json
from typing import Any

import numpy as np
import onnxruntime as ort
import ort_session  # the file beside this one: Triton puts the backend's folder on the module path
import triton_python_backend_utils as pb_utils

Arrays = dict[str, np.ndarray]


class Call:
    """One request of a batch: its place in the batch, its arrays and the outputs it asks for."""

    __slots__ = ("arrays", "place", "rows", "wanted")

    def __init__(self, place: int, request: Any) -> None:
        self.place = place
        self.wanted: list[str] = request.requested_output_names()
        self.arrays: Arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        shape = next(iter(self.arrays.values())).shape
        self.rows = shape[0] if shape else 1

    def row_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """What two requests must have in common to share a run: input names and shapes without the batch axis."""
        return tuple((name, array.shape[1:]) for name, array in self.arrays.items())


class TritonPythonModel:
    """The interface that Triton's Python backend calls: `initialize` once, then `execute` for each batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model; an exception becomes the model's load error in Triton's log and repository index."""
        config = json.loads(args["model_config"])
        self.name = config["name"]
        self.batched = config["max_batch_size"] > 0
        try:
            self.session: ort.InferenceSession = ort_session.open_session(config, args)
            ort_session.check_config(config, self.session)
        except Exception as error:
            raise pb_utils.TritonModelException(str(error)) from error  # Triton adds the model and the version
        self.strings = [i.name for i in self.session.get_inputs() if i.type == "tensor(string)"]
        self.scalars = [i.name for i in self.session.get_inputs() if not i.shape]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order; a failed request gets an error, its neighbours their outputs."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[Call]] = {}
        for place, request in enumerate(requests):
            call = Call(place, request)
            groups.setdefault(call.row_shapes() if self.batched else place, []).append(call)
        for calls in groups.values():
            self._answer(calls, responses)
        return responses

    def _answer(self, calls: list[Call], responses: list[Any]) -> None:
        try:
            answered = self._run(calls)
        except Exception as error:  # whatever one request provokes must not reach the others
            if len(calls) > 1:
                for call in calls:
                    self._answer([call], responses)
                return
            answered = [self._refusal(calls[0], error)]
        for call, response in zip(calls, answered, strict=True):
            responses[call.place] = response

    def _run(self, calls: list[Call]) -> list[Any]:
        """The responses to requests of equal row shapes, from one run of the graph."""
        # Only what somebody asked for is computed; dict.fromkeys keeps the order and drops repetitions.
        wanted = list(dict.fromkeys(name for call in calls for name in call.wanted))
        results = dict(zip(wanted, self.session.run(wanted, self._feeds(calls)), strict=True))
        if self.batched:
            rows = sum(call.rows for call in calls)
            for name, array in results.items():
                if array.shape[:1] != (rows,):
                    raise ValueError(f"output '{name}' has shape {list(array.shape)} for a batch of {rows}")
        if len(calls) == 1:
            tensors = [pb_utils.Tensor(name, np.atleast_1d(results[name])) for name in calls[0].wanted]
            return [pb_utils.InferenceResponse(tensors)]
        responses, start = [], 0
        for call in calls:
            stop = start + call.rows
            # Rows are contiguous: a slice is a view, copied once, by Triton, into the shared memory of the response.
            tensors = [pb_utils.Tensor(name, results[name][start:stop]) for name in call.wanted]
            responses.append(pb_utils.InferenceResponse(tensors))
            start = stop
        return responses

    def _feeds(self, calls: list[Call]) -> Arrays:
        """The inputs of the run: [sum of rows, ...] for each name."""
        feeds = calls[0].arrays
        if len(calls) > 1:
            feeds = {name: np.concatenate([call.arrays[name] for call in calls]) for name in feeds}
        for name in self.strings:
            feeds = feeds | {name: _text(name, feeds[name])}
        for name in self.scalars:  # Triton has no empty shape: a scalar comes as [1]
            feeds = feeds | {name: feeds[name].reshape(())}
        return feeds

    def _refusal(self, call: Call, error: Exception) -> Any:
        shapes = ", ".join(f"'{name}' {list(array.shape)}" for name, array in call.arrays.items())
        text = f"model '{self.name}', request with {shapes}: {error}"
        return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(text))


def _text(name: str, array: np.ndarray) -> np.ndarray:
    """Triton's bytes as ONNX Runtime's text: UTF-8, any character allowed, NUL too."""
    try:
        text = [value.decode() for value in array.ravel()]
    except UnicodeDecodeError as error:
        raise ValueError(f"input '{name}' holds text that is not UTF-8: {error}") from error
    return np.array(text, dtype=object).reshape(array.shape)
