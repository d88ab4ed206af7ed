"""Graphs that are clean: what the exporters leave behind is folded away, and what is left over is told.

The passes are those of onnxscript and onnx_ir, and a few rules of our own
(`export/conversion/folding.py`, `export/conversion/recurrence.py`).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping

import onnx
import onnx_ir
from onnx_ir.passes import common as passes
from onnxscript import optimizer

from export.conversion.constants import fold_constants
from export.conversion.folding import normalisation_to_linear
from export.conversion.recurrence import simplify_recurrence
from serving.onnx_files.weightless import without_weights

# Weights that were sliced or transposed are folded up to this many elements; the default, 1024, leaves an LSTM's gates
# to be cut out of its weights in every run.
FOLDED_ELEMENTS = 1 << 26
# Folding a shape can open the next one: two rounds were enough for every graph seen, a third changes nothing.
ROUNDS = 2
# An initializer smaller than this may repeat: scalars and axes are cheaper than the node that would share them.
DUPLICATE_BYTES = 1024

LINEAR = ("Gemm", "MatMul")

MODULE_KEY = "module"
"""Key of the node metadata that holds the path of the PyTorch module a node comes from."""


def clean(model: onnx_ir.Model) -> None:
    """Bring the same function to as few nodes as the libraries' passes make of it, in place, with its shapes anew.

    Constants, shape arithmetic of fixed shapes and batch normalisation after a convolution or a linear layer are
    folded, equal nodes and initializers are shared, dead ones go. The exporters' notes are replaced by the module's
    path alone: they hold paths of the machine that exported. A stale shape (the dynamo exporter gives an LSTM's output
    the example's length) is forgotten and inferred from the inputs; where inference cannot tell, it stays unknown.
    """
    for node in model.graph.all_nodes():
        path = module_path(node.name or "", node.metadata_props)
        node.metadata_props.clear()
        if path:
            node.metadata_props[MODULE_KEY] = path
    for _ in range(ROUNDS):
        _fold(model)
    _infer_shapes(model)
    if any([normalisation_to_linear(model), simplify_recurrence(model)]):
        _fold(model)
    while fold_constants(model, FOLDED_ELEMENTS):
        _fold(model)
    # nn.TransformerEncoder copies one layer: untrained, its weights repeat, and the optimizer shares small ones only.
    # Not the pass that hashes: it fails on a weight that was folded through a transpose.
    passes.DeduplicateInitializersPass(size_limit=FOLDED_ELEMENTS)(model)
    passes.RemoveUnusedOpsetsPass()(model)
    _infer_shapes(model)
    _forget_notes(model)


def findings(model: onnx.ModelProto) -> list[str]:
    """What is not clean in a graph, a sentence each; empty for a clean one.

    Looked for: nodes and initializers that nothing reads, shape arithmetic whose result is fixed, batch normalisation
    that could be folded into the node before it, and large initializers stored more than once.
    """
    graph = onnx.shape_inference.infer_shapes(without_weights(model), data_prop=True).graph
    return [*_dead(graph), *_fixed_shapes(graph), *_unfolded(graph), *_duplicates(model.graph)]


def _fold(model: onnx_ir.Model) -> None:
    _infer_shapes(model)
    optimizer.optimize_ir(
        model, input_size_limit=FOLDED_ELEMENTS, output_size_limit=FOLDED_ELEMENTS, should_fold=_should_fold
    )


def _should_fold(node: onnx_ir.Node) -> bool | None:
    # Left alone by default, because it can grow the file; FOLDED_ELEMENTS bounds that here.
    return True if node.op_type == "ConstantOfShape" else None


def _infer_shapes(model: onnx_ir.Model) -> None:
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    passes.ShapeInferencePass(data_prop=True)(model)


def _forget_notes(model: onnx_ir.Model) -> None:
    model.metadata_props.clear()
    model.doc_string = None
    graph = model.graph
    graph.metadata_props.clear()
    graph.doc_string = None
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    for node in graph.all_nodes():
        node.doc_string = None
        for key in set(node.metadata_props) - {MODULE_KEY}:
            del node.metadata_props[key]
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None


def module_path(name: str, notes: Mapping[str, str]) -> str:
    """The path of the PyTorch module a node comes from, as `named_modules` writes it; "" for the outermost.

    Args:
        name: the node's name, from which the torchscript exporter's is read.
        notes: its metadata, from which that of the dynamo exporter and of a cleaned graph is read.
    """
    if MODULE_KEY in notes:
        return notes[MODULE_KEY]
    if "pkg.torch.onnx.name_scopes" in notes:
        scopes: list[str] = ast.literal_eval(notes["pkg.torch.onnx.name_scopes"])
        # The last scope is the operator's own; the tracer's own additions belong to no module.
        return scopes[-2] if len(scopes) > 1 and not scopes[-2].startswith("_empty_nn_module") else ""
    return _torchscript_path(name)


def _torchscript_path(name: str) -> str:
    """`/network/blocks/blocks.0/conv1/Conv` -> `network.blocks.0.conv1`: the exporter repeats a list's own name."""
    path: list[str] = []
    for scope in name.split("/")[1:-1]:
        if path and scope.startswith(f"{path[-1].rsplit('.', 1)[-1]}."):
            path[-1] = f"{path[-1]}.{scope.split('.', 1)[1]}"
        else:
            path.append(scope)
    return ".".join(path)


def _dead(graph: onnx.GraphProto) -> Iterator[str]:
    read = {name for node in _all_nodes(graph) for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        if not any(name in read for name in node.output if name):
            yield f"node {node.name or node.op_type!r} ({node.op_type}) is dead: nothing reads its outputs"
    for tensor in graph.initializer:
        if tensor.name not in read:
            yield f"initializer {tensor.name!r} is dead: nothing reads it"


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes with those of all subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)


def _fixed_shapes(graph: onnx.GraphProto) -> Iterator[str]:
    constants = {tensor.name for tensor in graph.initializer}
    fixed = {
        value.name
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type == "Constant" or (inputs and constants.issuperset(inputs) and not _random(node)):
            yield f"node {node.name or node.op_type!r} ({node.op_type}) is constant and not folded"
        elif node.op_type in ("Shape", "Size") and inputs[0] in fixed:
            yield f"node {node.name or node.op_type!r} ({node.op_type}) computes a shape that is fixed"


def _random(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")


def _unfolded(graph: onnx.GraphProto) -> Iterator[str]:
    constants = {tensor.name for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for node in graph.node:
        before = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if before is not None and before.op_type == "Reshape":
            before = makers.get(before.input[0])
            before = before if before is not None and before.op_type in LINEAR else None
        if (
            before is not None
            and before.op_type in ("Conv", "ConvTranspose", *LINEAR)
            and readers[node.input[0]] == 1
            and constants.issuperset(name for name in (*before.input[1:], *node.input[1:]) if name)
        ):
            yield f"node {node.name or node.op_type!r} (BatchNormalization) is not folded into {before.op_type}"


def _duplicates(graph: onnx.GraphProto) -> Iterator[str]:
    seen: dict[bytes, str] = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        array = onnx.numpy_helper.to_array(tensor)
        if array.nbytes >= DUPLICATE_BYTES:
            key = f"{tensor.data_type} {array.shape} ".encode() + hashlib.sha256(array.data).digest()
            if key in seen:
                yield f"initializer {tensor.name!r} repeats {seen[key]!r}"
            else:
                seen[key] = tensor.name
