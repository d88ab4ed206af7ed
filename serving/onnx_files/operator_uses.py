"""Each node of an ONNX model with the types of what it takes and gives: what ONNX Runtime chooses a kernel by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.inliner
from onnx import TensorProto, TypeProto

from serving.onnx_files.weightless import without_weights

UNKNOWN = "unknown"
"""The type of a tensor that nothing can be inferred of, as behind an operator that is not ONNX's own."""


@dataclass(frozen=True)
class Use:
    """One node."""

    node: onnx.NodeProto
    domain: str
    """`ai.onnx` for ONNX's own."""
    operator: str
    opset: int
    """The version of the domain's operator set that the model asks for."""
    inputs: tuple[str | None, ...]
    """`float`, `seq(int64)`, ..., as ONNX Runtime calls it without `tensor()`; None where an input is left out."""
    outputs: tuple[str | None, ...]

    @property
    def name(self) -> str:
        """Of the node, or of its first output where it has none."""
        return self.node.name or next(iter(self.node.output), "")

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are known, each once, those of the inputs first."""
        known = (kind for kind in (*self.inputs, *self.outputs) if kind and UNKNOWN not in kind)
        return tuple(dict.fromkeys(known))


def operator_uses(model: onnx.ModelProto) -> Iterator[Use]:
    """The nodes of `model`, those inside other nodes too; calls of its own functions are the nodes of those."""
    model = inferred(_without_functions(model))
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    own = {(function.domain or "ai.onnx", function.name) for function in model.functions}  # that did not go
    yield from (use for use in _uses(model.graph, opsets, {}) if (use.domain, use.operator) not in own)


def written_out(use: Use) -> onnx.ModelProto | None:
    """A model of the nodes by which ONNX defines that of `use`; None where the package cannot say them.

    It cannot where an optional input is left out, or is no tensor of a known type.
    """
    domain = "" if use.domain == "ai.onnx" else use.domain
    try:
        inputs = [
            onnx.helper.make_tensor_value_info(name, TensorProto.DataType.Value((kind or UNKNOWN).upper()), None)
            for name, kind in dict(zip(use.node.input, use.inputs, strict=True)).items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in use.node.output if name]
        alone = onnx.helper.make_model(
            onnx.helper.make_graph([use.node], "alone", inputs, outputs),
            opset_imports=[onnx.helper.make_opsetid(domain, use.opset)],
        )
        parts = onnx.inliner.inline_selected_functions(alone, [(domain, use.operator)], inline_schema_functions=True)
    except Exception:  # the package raises what its C++ does
        return None
    return None if any(node.op_type == use.operator for node in parts.graph.node) else parts


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.inliner.inline_local_functions(model) if model.functions else model
    except Exception:  # the package raises what its C++ does
        return model


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with the types and shapes that follow from its nodes, and without the bytes of large weights.

    It is unchanged where they cannot be inferred.
    """
    try:
        return onnx.shape_inference.infer_shapes(without_weights(model))
    except Exception:  # of types that contradict each other, or too large to be copied; then few are known
        return model


def _uses(graph: onnx.GraphProto, opsets: Mapping[str, int], outside: Mapping[str, str]) -> Iterator[Use]:
    types = {
        **outside,
        **{tensor.name: _element(tensor.data_type) for tensor in graph.initializer},
        **{
            tensor.values.name: f"sparse_tensor({_element(tensor.values.data_type)})"
            for tensor in graph.sparse_initializer
        },
        **{value.name: _type(value.type) for value in (*graph.value_info, *graph.input, *graph.output)},
    }

    def of(names: Sequence[str]) -> tuple[str | None, ...]:
        return tuple(types.get(name, UNKNOWN) if name else None for name in names)

    for node in graph.node:
        domain = node.domain or "ai.onnx"
        yield Use(node, domain, node.op_type, opsets.get(domain, 1), of(node.input), of(node.output))
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _uses(inner, opsets, types)


def _element(kind: int) -> str:
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else UNKNOWN


def _type(kind: TypeProto) -> str:
    match kind.WhichOneof("value"):
        case "tensor_type":
            return _element(kind.tensor_type.elem_type) if kind.tensor_type.elem_type else UNKNOWN
        case "sparse_tensor_type":
            return f"sparse_tensor({_element(kind.sparse_tensor_type.elem_type)})"
        case "sequence_type":
            return f"seq({_type(kind.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({_type(kind.optional_type.elem_type)})"
        case "map_type":
            return f"map({_element(kind.map_type.key_type)},{_type(kind.map_type.value_type)})"
        case _:
            return UNKNOWN
