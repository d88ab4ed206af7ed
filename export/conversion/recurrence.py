"""What the dynamo exporter writes around LSTM, GRU and RNN nodes, made plain.

It reshapes each layer's output through the shape of that output, twenty nodes a layer, and passes zeros as first
states, which are the operators' default. Without all this the graph is as short as its PyTorch module, and some
percent faster.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase, RewriteRuleSet

RECURRENT = ("LSTM", "GRU", "RNN")
FIRST_STATES = (5, 6)
"""Places of the first states among the inputs of a recurrent operator; GRU and RNN have the first alone."""


class SqueezeDirections(RewriteRuleClassBase):
    """`Reshape(Transpose(y, [0, 2, 1, 3]), [0, 0, -1])` of y [time, 1, batch, width] becomes `Squeeze(y, [1])`."""

    def pattern(self, op, y, shape):  # type: ignore[no-untyped-def]
        """What is looked for."""
        return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), shape)

    def check(self, context, y, shape):  # type: ignore[no-untyped-def]
        """Whether there is one direction, and the reshape does nothing but drop it."""
        del context
        result = MatchResult()
        if y.shape is None or len(y.shape) != 4 or y.shape[1] != 1:
            return result.fail("the axis that would be dropped is not known to be 1")
        if shape.const_value is None or shape.const_value.numpy().tolist() != [0, 0, -1]:
            return result.fail("it is reshaped otherwise")
        return result

    def rewrite(self, op, y, **_: ir.Value):  # type: ignore[no-untyped-def]
        """The same without moving a number."""
        return op.Squeeze(y, op.initializer(ir.tensor(np.array([1], np.int64)), name=f"{y.name}_directions"))


class TransposeTokens(RewriteRuleClassBase):
    """`Transpose(Gather(table, tokens), [1, 0, 2])` becomes `Gather(table, Transpose(tokens))`: fewer numbers move."""

    def pattern(self, op, table, tokens):  # type: ignore[no-untyped-def]
        """What is looked for."""
        return op.Transpose(op.Gather(table, tokens, axis=0), perm=[1, 0, 2])

    def check(self, context, table, tokens):  # type: ignore[no-untyped-def]
        """Whether it is the embedding of a sequence."""
        del context
        result = MatchResult()
        if any(value.shape is None or len(value.shape) != 2 for value in (table, tokens)):
            return result.fail("not an embedding of [batch, time]")
        return result

    def rewrite(self, op, table, tokens):  # type: ignore[no-untyped-def]
        """The tokens are transposed in place of their vectors."""
        return op.Gather(table, op.Transpose(tokens, perm=[1, 0]), axis=0)


RULES = RewriteRuleSet([SqueezeDirections().rule(), TransposeTokens().rule()])


def simplify_recurrence(model: ir.Model) -> bool:
    """Apply all of it in place, to a model whose shapes are inferred; whether anything changed."""
    nodes = [node for node in model.graph if node.op_type in RECURRENT]
    if not nodes:
        return False
    changes = sum(_drop_zero_states(node) for node in nodes)
    changes += sum(_copy_axes(node, model.graph) for node in list(model.graph) if node.op_type == "Reshape")
    passes.RemoveUnusedNodesPass()(model)  # the arithmetic of the shapes would keep the rules from matching
    return changes + RULES.apply_to_model(model) > 0


def _drop_zero_states(node: ir.Node) -> bool:
    """Leave out first states that are zeros."""
    dropped = [place for place in FIRST_STATES if place < len(node.inputs) and _is_zeros(node.inputs[place])]
    for place in dropped:
        node.replace_input_with(place, None)
    return bool(dropped)


def _is_zeros(value: ir.Value | None) -> bool:
    """Whether it is zeros of whatever shape: a constant 0 that was expanded, and perhaps sliced."""
    while value is not None and value.const_value is None:
        node = value.producer()
        if node is not None and node.op_type == "ConstantOfShape":
            filled = node.attributes.get("value")
            return filled is None or not filled.as_tensor().numpy().any()
        if node is None or node.op_type not in ("Slice", "Expand", "Reshape", "Squeeze", "Unsqueeze"):
            return False
        value = node.inputs[0]
    return value is not None and value.const_value is not None and not value.const_value.numpy().any()


def _copy_axes(node: ir.Node, graph: ir.Graph) -> bool:
    """Where a computed shape keeps all axes but the last, say so with a constant: 0 copies an axis, -1 is the rest."""
    data, shape = node.inputs[:2]
    reshaped = node.outputs[0].shape
    if data is None or shape is None or shape.const_value is not None or data.shape is None or reshaped is None:
        return False
    kept = len(reshaped) - 1
    if kept < 1 or any(one != other or one == 0 for one, other in zip(data.shape[:kept], reshaped[:kept], strict=True)):
        return False
    if any(isinstance(size, ir.SymbolicDim) and size.value is None for size in reshaped[:kept]):
        return False
    copied = ir.val(f"{node.outputs[0].name}_shape", const_value=ir.tensor(np.array([0] * kept + [-1], np.int64)))
    graph.register_initializer(copied)
    node.replace_input_with(1, copied)
    node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)
    return True
