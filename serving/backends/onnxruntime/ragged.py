"""Ragged batches: inputs of another length in each request, joined without padding, and the arrays that part them.

For a backend in C++ a library of Triton's makes these arrays; for one in Python nobody does, so they are made here.

Source: triton-inference-server/server docs/user_guide/ragged_batching.md; triton-inference-server/backend
src/backend_input_collector.cc (`BatchInputShape`, `ProcessBatchInput`) and src/backend_output_responder.cc
(`ProcessBatchOutput`).
"""

from collections.abc import Callable, Sequence

import numpy as np
from config_values import Config

Arrays = dict[str, np.ndarray]


def _counts(arrays: Sequence[np.ndarray]) -> list[int]:
    return [array.size for array in arrays]


def _accumulated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum(_counts(arrays))


def _item_shapes(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """[rows, axes without the batch's], the shape of each row."""
    return np.concatenate([np.tile(array.shape[1:], (len(array), 1)) for array in arrays])


KINDS: dict[str, Callable[[Sequence[np.ndarray]], object]] = {
    "BATCH_ELEMENT_COUNT": _counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": _accumulated,
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda arrays: np.concatenate([[0], _accumulated(arrays)]),
    # Only its shape is meant; the C++ backend leaves the contents unset.
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda arrays: np.zeros(max(_counts(arrays))),
    "BATCH_ITEM_SHAPE": _item_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": lambda arrays: _item_shapes(arrays).ravel(),
}
"""Kind of a `batch_input` -> its value for the arrays of its source input, one a request."""

TYPES = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32}


class Ragged:
    """The `allow_ragged_batch`, `batch_input` and `batch_output` entries of a configuration; false without any.

    Raises:
        ValueError: A `batch_input` has a type that Triton does not make.
    """

    def __init__(self, config: Config) -> None:
        self._flat = {entry["name"] for entry in config["input"] if entry.get("allow_ragged_batch", False)}
        self._made = config.get("batch_input", [])
        for entry in self._made:
            if entry["data_type"] not in TYPES:
                raise ValueError(
                    f"batch_input '{entry['target_name'][0]}' has type {entry['data_type']}, "
                    f"allowed are {', '.join(TYPES)}"
                )
        self.scattered = {
            name: entry["source_input"][0] for entry in config.get("batch_output", []) for name in entry["target_name"]
        }
        """Output that is split as an input was joined -> that input."""
        dims = {entry["name"]: [int(dim) for dim in entry["dims"]] for entry in config["output"]}
        self._dims = {name: [-1, *dims[name]] for name in self.scattered if name in dims}

    def __bool__(self) -> bool:
        return bool(self._flat or self._made)

    def join(self, requests: Sequence[Arrays]) -> Arrays:
        """The feeds of one run: ragged inputs end to end [elements], the others [rows, ...], and the batch inputs."""
        feeds = {
            name: np.concatenate(
                [request[name].ravel() if name in self._flat else request[name] for request in requests]
            )
            for name in requests[0]
        }
        for entry in self._made:
            sources = [request[entry["source_input"][0]] for request in requests]
            made = np.asarray(KINDS[entry["kind"]](sources), TYPES[entry["data_type"]])
            feeds |= dict.fromkeys(entry["target_name"], made)
        return feeds

    def split(self, name: str, array: np.ndarray, requests: Sequence[Arrays]) -> list[np.ndarray]:
        """BATCH_SCATTER_WITH_INPUT_SHAPE: each request's part of an output, in the shape of its own input.

        Raises:
            ValueError: The output does not have the elements of all requests.
        """
        shapes = []
        for request in requests:
            source = request[self.scattered[name]].shape
            shapes.append([source[axis] if dim == -1 else dim for axis, dim in enumerate(self._dims[name])])
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        if array.size != ends[-1]:
            raise ValueError(
                f"output '{name}' has {array.size} elements, the requests' shapes {shapes} need {ends[-1]}"
            )
        parts = np.split(array.ravel(), ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
