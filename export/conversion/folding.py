"""A batch normalisation behind a linear layer, brought to where the optimizer folds it into the layer's weights.

The first layers of most GAN generators and of decoders are `Linear -> Unflatten -> BatchNorm2d`. The optimizer folds
normalisation only into the node right before it, and of linear layers only into Gemm.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase, RewriteRuleSet


class NormaliseBeforeReshape(RewriteRuleClassBase):
    """`BatchNormalization(Reshape(Gemm(x)))` becomes `Reshape(BatchNormalization(Gemm(x)))`; MatMul as Gemm.

    A channel of [channels, *sides] is `prod(sides)` neighbouring features of the linear layer, so each of its
    parameters is repeated that often.
    """

    def pattern(self, op, flat, shape):  # type: ignore[no-untyped-def]
        """What is looked for; `check` sees to it that `flat` comes from a linear layer."""
        reshaped = op.Reshape(flat, shape, _outputs=["reshaped"])
        return op.BatchNormalization(reshaped, _allow_other_inputs=True, _outputs=["normalised"])

    def check(self, context, flat, reshaped, normalised, **_: ir.Value) -> MatchResult:  # type: ignore[no-untyped-def, override]
        """Whether the batch axis stays alone in front, and only this normalisation reads the values between."""
        del context
        result = MatchResult()
        linear = flat.producer()
        if linear is None or linear.op_type not in ("Gemm", "MatMul") or linear.inputs[1].const_value is None:
            return result.fail("no linear layer before it")
        if flat.shape is None or reshaped.shape is None or len(flat.shape) != 2 or len(reshaped.shape) < 3:
            return result.fail("shapes are not known")
        tail = reshaped.shape[1:]
        if not all(isinstance(size, int) for size in tail) or math.prod(tail) != flat.shape[1]:
            return result.fail("the batch axis is reshaped too")
        if len(flat.uses()) != 1 or len(reshaped.uses()) != 1:
            return result.fail("another node reads the value before the normalisation")
        if any(value is None or value.const_value is None for value in normalised.producer().inputs[1:]):
            return result.fail("its parameters are not constants")
        return result

    def rewrite(self, op, flat, reshaped, normalised, shape, **_: ir.Value):  # type: ignore[no-untyped-def]
        """The two nodes, exchanged."""
        node = normalised.producer()
        if flat.producer().op_type == "MatMul":  # a layer without bias; the optimizer folds into Gemm only
            flat = op.Gemm(*flat.producer().inputs)
        repeats = math.prod(reshaped.shape[2:])
        parameters = [
            op.initializer(ir.tensor(np.repeat(value.const_value.numpy(), repeats)), name=f"{value.name}_repeated")
            for value in node.inputs[1:]
        ]
        return op.Reshape(op.BatchNormalization(flat, *parameters, epsilon=_epsilon(node)), shape)


class NormalisedMatMulAsGemm(RewriteRuleClassBase):
    """`BatchNormalization(MatMul(x, weights))` of matrices becomes `BatchNormalization(Gemm(x, weights))`."""

    def pattern(self, op, x, weights):  # type: ignore[no-untyped-def]
        """What is looked for."""
        product = op.MatMul(x, weights, _outputs=["product"])
        return op.BatchNormalization(product, _allow_other_inputs=True, _outputs=["normalised"])

    def check(self, context, x, weights, product, **_: ir.Value) -> MatchResult:  # type: ignore[no-untyped-def, override]
        """Whether both are matrices, the second a constant."""
        del context
        result = MatchResult()
        if x.shape is None or len(x.shape) != 2 or weights.const_value is None or len(product.uses()) != 1:
            return result.fail("not a linear layer that only the normalisation reads")
        return result

    def rewrite(self, op, x, weights, normalised, **_: ir.Value):  # type: ignore[no-untyped-def]
        """The same with Gemm."""
        node = normalised.producer()
        return op.BatchNormalization(op.Gemm(x, weights), *node.inputs[1:], epsilon=_epsilon(node))


RULES = RewriteRuleSet([NormaliseBeforeReshape().rule(), NormalisedMatMulAsGemm().rule()])


def normalisation_to_linear(model: ir.Model) -> bool:
    """Apply the rules wherever they hold, in place; whether there is now something for the optimizer to fold."""
    changed = RULES.apply_to_model(model) > 0
    # The MatMul that became a Gemm is dead, but as long as it is there the optimizer finds its weights in use.
    passes.RemoveUnusedNodesPass()(model)
    return changed


def _epsilon(normalisation: ir.Node) -> float:
    """The one attribute that inference knows; exporters may write training_mode and momentum, which mean nothing."""
    return normalisation.attributes.get("epsilon", ir.AttrFloat32("epsilon", 1e-5)).as_float()
