"""Whether a graph's inputs and outputs are the declared ones."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from training.recipe import Served, Tensor


def check_signature(served: Served, model: onnx.ModelProto) -> Iterator[str]:
    """Compare names, dtypes, shapes and symbolic axes of the graph with the declared ones; a sentence a difference."""
    for kind, declared, found in (
        ("input", served.inputs, model.graph.input),
        ("output", served.outputs, model.graph.output),
    ):
        by_name = {value.name: value for value in found}
        if list(by_name) != [tensor.name for tensor in declared]:
            yield f"{kind}s are {list(by_name)}, declared are {[tensor.name for tensor in declared]}"
            continue
        for tensor in declared:
            yield from _check_tensor(kind, tensor, by_name[tensor.name])


def _check_tensor(kind: str, tensor: Tensor, value: onnx.ValueInfoProto) -> Iterator[str]:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    if dtype != tensor.dtype:
        yield f"{kind} {tensor.name!r} is {dtype}, declared is {tensor.dtype}"
    dims = value.type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims)
    if shape != tensor.shape:
        frozen = "".join(
            f"; axis {axis} ({want}) is frozen at {got}"
            for axis, (got, want) in enumerate(zip(shape, tensor.shape, strict=False))
            if isinstance(want, str) and isinstance(got, int)
        )
        yield f"{kind} {tensor.name!r} has shape {list(shape)}, declared is {list(tensor.shape)}{frozen}"
