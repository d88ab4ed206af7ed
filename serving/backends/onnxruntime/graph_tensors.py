"""The graph's tensors: what can be served of them, and whether the configuration says the same.

They are compared once, at load, so that no request has to be. `publish` asks the same functions, as
`serving.backends.onnxruntime.graph_tensors`, so that what it accepts loads: nothing beside this file is imported.

The rules are those of NVIDIA's C++ backend: an input's dims may narrow what the graph leaves open, an output's are the
graph's; outputs may be left out; with `max_batch_size` above 0 every tensor but a scalar has an open first axis.

Source: triton-inference-server/onnxruntime_backend src/onnxruntime.cc, ValidateInputs and ValidateOutputs, and
src/onnxruntime_utils.cc, CompareDimsSupported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

if TYPE_CHECKING:
    from config_values import Config

ORT_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
"""What can be served: ONNX Runtime's name of a type -> Triton's."""

NUMPY_TYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
    **{f"TYPE_{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""Triton's name of a type of numbers -> NumPy's."""

GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def optimization_level(level: int) -> ort.GraphOptimizationLevel:
    """ONNX Runtime's level for `optimization { graph { level } }`; 0, its default there, is all of them.

    It decides shapes too: constants that are folded make known what was open.
    """
    return GRAPH_LEVELS.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)


def open_dims(tensor: Any) -> list[int]:
    """A graph tensor's shape with -1 for every open axis. Triton has no axis of length 0: one counts as open."""
    return [dim if isinstance(dim, int) and dim > 0 else -1 for dim in tensor.shape]


def served_type(kind: str, tensor: Any) -> str:
    """Triton's type of a graph's tensor; `ValueError` where it has none (BF16, sequences, maps)."""
    if tensor.type not in ORT_TYPES:
        raise ValueError(
            f"{kind} '{tensor.name}' has type {tensor.type}, which cannot be served, allowed are {', '.join(ORT_TYPES)}"
        )
    return ORT_TYPES[tensor.type]


def check_config(config: Config, opened: ort.InferenceSession) -> None:
    """Compare the configured tensors with the graph's.

    Raises:
        ValueError: A tensor is unknown or missing, or its type or shape is not the graph's; the text names it.
    """
    batched = config["max_batch_size"] > 0
    needed = {tensor.name: tensor for tensor in opened.get_inputs()}
    optional = {tensor.name: tensor for tensor in opened.get_overridable_initializers()}
    for entry in config["input"]:
        where = f"input '{entry['name']}'"
        if entry.get("optional", False) and entry["name"] in needed:
            raise ValueError(f"{where} is optional, but the graph has no initializer of that name to take its place")
        if not entry.get("optional", False) and entry["name"] in optional:
            raise ValueError(f"{where} is an initializer of the graph: say `optional: true`")
        tensor = _named(where, entry, needed | optional)
        _check_type(where, entry, tensor)
        if entry.get("allow_ragged_batch", False):
            if open_dims(tensor) != [-1] or not batched:
                raise ValueError(
                    f"{where} is ragged: the graph's must have the shape [-1] and max_batch_size be above 0, "
                    f"it has {open_dims(tensor)} and max_batch_size is {config['max_batch_size']}"
                )
        else:
            _check_dims(where, entry, tensor, batched, exact=False)
    configured = {entry["name"] for entry in config["input"]} | set(_made_inputs(config))
    if missing := needed.keys() - configured:
        raise ValueError(f"the graph needs the inputs {sorted(missing)}, which the configuration does not have")
    outputs = {tensor.name: tensor for tensor in opened.get_outputs()}
    scattered = {name for entry in config.get("batch_output", []) for name in entry["target_name"]}
    for entry in config["output"]:
        where = f"output '{entry['name']}'"
        tensor = _named(where, entry, outputs)
        _check_type(where, entry, tensor)
        if entry["name"] not in scattered:  # a scattered one has the shape of the requests, not of the graph
            _check_dims(where, entry, tensor, batched, exact=True)


def _made_inputs(config: Config) -> Iterator[str]:
    """Inputs of the graph that no request carries: the server or this backend makes them."""
    for entry in config.get("batch_input", []):
        yield from entry["target_name"]
    sequences = config.get("sequence_batching", {})
    for entry in sequences.get("control_input", []):
        yield entry["name"]
    for entry in sequences.get("state", []):
        yield entry["input_name"]


def _named(where: str, entry: Config, graph: dict[str, Any]) -> Any:
    if entry["name"] not in graph:
        raise ValueError(f"{where} is not in the graph, which has {sorted(graph)}")
    return graph[entry["name"]]


def _check_type(where: str, entry: Config, tensor: Any) -> None:
    kind = served_type(where.split()[0], tensor)
    if kind != entry["data_type"]:
        raise ValueError(f"{where} has type {entry['data_type']}, the graph's is {kind}")


def _check_dims(where: str, entry: Config, tensor: Any, batched: bool, exact: bool) -> None:
    dims = [int(dim) for dim in entry["reshape"].get("shape", [])] if "reshape" in entry else configured_dims(entry)
    shape = open_dims(tensor)
    if not shape:  # Triton has no empty shape: a scalar is [1]
        if any(dim != 1 for dim in dims):
            raise ValueError(f"{where} has dims {dims}, the graph's is a scalar: allowed are dims of 1")
        return
    if batched and shape[0] != -1:
        raise ValueError(f"{where}: max_batch_size above 0 needs a dynamic first axis, the graph's shape is {shape}")
    configured = [-1, *dims] if batched else dims
    fits = len(configured) == len(shape) and all(
        wanted == given or (given == -1 and not exact) for wanted, given in zip(configured, shape, strict=True)
    )
    if not fits:
        with_batch = " (with the batch axis)" if batched else ""
        raise ValueError(f"{where} has shape {configured}{with_batch}, the graph's is {shape}")


def configured_dims(entry: Config) -> list[int]:
    """The `dims` of a configured tensor."""
    return [int(dim) for dim in entry.get("dims", [])]
