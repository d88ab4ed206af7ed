"""A graph without the bytes of its weights: what asks for types and shapes needs none, and copies what it is given."""

from __future__ import annotations

import onnx
from onnx import TensorProto

LARGE_BYTES = 1 << 20
"""Shapes are computed from smaller constants than that."""


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose large initializers are references to external data that is not there.

    `model` stays as it is. Tensors inside nodes are copied, whatever their size.
    """
    light = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _put(light, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name == "initializer":
            light.graph.initializer.extend(_light(tensor) for tensor in value)
        else:
            _put(light.graph, field.name, value)
    return light


def _light(tensor: TensorProto) -> TensorProto:
    if len(tensor.raw_data) < LARGE_BYTES:
        return tensor
    return TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
    )


def _put(message: onnx.ModelProto | onnx.GraphProto, field: str, value: object) -> None:
    """Set a field to a value of its own type."""
    if hasattr(value, "extend"):
        getattr(message, field).extend(value)
    elif hasattr(value, "ListFields"):
        getattr(message, field).CopyFrom(value)
    else:
        setattr(message, field, value)
