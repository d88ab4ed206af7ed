"""What is quantized together: a layer with weights and the operators behind it that have none."""

from __future__ import annotations

import onnx

from export.precision.prepare import BETWEEN, FEWEST_CHANNELS, WEIGHTED

Groups = dict[str, tuple[str, ...]]
"""Name of the node with weights to the names of all nodes of its group, in the order of the graph."""


def groups_of(model: onnx.ModelProto) -> Groups:
    """The groups that may be quantized.

    What comes before the first layer with weights (the cast from uint8, the normalisation) and after the last (softmax,
    rounding) stays in fp32, and so does a convolution of fewer input channels than the 8-bit kernel takes.
    """
    nodes = list(model.graph.node)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    before = _reached(nodes, weights)
    after = _reached(list(reversed(nodes)), weights, backwards=True)
    groups: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for node in nodes:
        if _is_weighted(node, weights):
            if not _too_narrow(node, weights):
                groups[node.name] = [node.name]
                owner |= dict.fromkeys(node.output, node.name)
        elif node.op_type in BETWEEN and node.name in before and node.name in after:
            group = next((owner[name] for name in reversed(node.input) if name in owner), None)
            if group is not None:
                groups[group].append(node.name)
                owner |= dict.fromkeys(node.output, group)
    return {name: tuple(members) for name, members in groups.items()}


def _is_weighted(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    return node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in weights


def _too_narrow(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return node.op_type == "Conv" and group == 1 and weights[node.input[1]].dims[1] < FEWEST_CHANNELS


def _reached(nodes: list[onnx.NodeProto], weights: dict[str, onnx.TensorProto], backwards: bool = False) -> set[str]:
    """Names of the nodes with a layer with weights upstream, or downstream when going `backwards`."""
    tensors: set[str] = set()
    reached = set()
    for node in nodes:
        into, out = (node.output, node.input) if backwards else (node.input, node.output)
        if tensors.intersection(into):
            reached.add(node.name)
        if node.name in reached or _is_weighted(node, weights):
            tensors.update(name for name in out if name and name not in weights)
    return reached
