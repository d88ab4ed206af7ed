"""ONNX files that are not served as they came: what has states, batches elsewhere, and maps, as such files come."""

from typing import Any

import onnx
from onnx import TensorProto, helper, parser

HEADER = '<ir_version: 10, opset_import: ["": 20]>'

# As silero-vad: the state has the batch in the middle and declares nothing of what comes out, the rate is a number.
VAD = """
vad (float[n, samples] input, float[2, n, 4] state, int64 sr) => (float[n, 1] output, float[a, b, c] stateN)
<int64[1] last = {1}, int64[2] layers_and_width = {0, 2}, int64[1] front = {0}, int64 wide = {16000},
 float decay = {0.5}, float[2, 1, 4] weight = {1.0, -2.0, 3.0, 0.5, -0.25, 1.5, 2.0, -1.0}>
{ is_wide = Equal(sr, wide)
  scale = If (is_wide) <then_branch = t () => (float one) { one = Constant<value_float = 1.0>() },
                        else_branch = e () => (float half) { half = Constant<value_float = 0.25>() }>
  mean = ReduceMean<keepdims = 1>(input, last)
  scaled = Mul(mean, scale)
  row = Unsqueeze(scaled, front)
  new = Mul(row, weight)
  old = Mul(state, decay)
  stateN = Add(old, new)
  total = ReduceSum<keepdims = 0>(stateN, layers_and_width)
  column = Unsqueeze(total, last)
  output = Sigmoid(column) }
"""

# A recurrent layer over [time, batch, features]; its initial state is caught inside a branch.
TIME_FIRST = """
time_first (float[time, batch, 3] x) => (float[time, batch, 2] y, float[batch, 2] last)
<float[3, 2] w = {1, 2, 3, 4, 5, 6}, int64 zero = {0}, bool yes = {1}>
{ z = MatMul(x, w)
  y = CumSum(z, zero)
  last = If (yes) <then_branch = t () => (float[batch, 2] a) { first = Gather<axis = 0>(x, zero) a = MatMul(first, w) },
                   else_branch = e () => (float[batch, 2] b) { gone = Gather<axis = 0>(y, zero) b = Neg(gone) }> }
"""

# Counts since the beginning of a sequence, which it is told as one number an item.
COUNTER = """
counter (float[n, 2] x, float[n] begins, float[n, 2] kept) => (float[n, 2] y, float[n, 2] next)
<float one = {1}, int64[1] last = {1}>
{ goes_on = Sub(one, begins)
  column = Unsqueeze(goes_on, last)
  remembered = Mul(kept, column)
  next = Add(remembered, x)
  y = Add(kept, x) }
"""

# Exported for one row: no axis is open.
ONE_ROW = """
one_row (float[1, 3] x, float[2, 1, 3] h) => (float[1, 3] y, float[2, 1, 3] hn)
<int64[1] front = {0}, float[2, 1, 1] w = {1, -2}>
{ up = Unsqueeze(x, front) new = Mul(up, w) hn = Add(h, new) y = ReduceSum<keepdims = 0>(hn, front) }
"""


def parsed(text: str) -> onnx.ModelProto:
    """A model in ONNX's text format."""
    return parser.parse_model(HEADER + text)


def classifier(*classes: int | str) -> onnx.ModelProto:
    """A logistic regression of four features and three classes, node by node as skl2onnx writes it."""
    ml: dict[str, Any] = {"domain": "ai.onnx.ml"}
    words = isinstance(classes[0], str)
    labels: dict[str, Any] = {"classlabels_strings" if words else "classlabels_ints": classes}
    keys: dict[str, Any] = {"classlabels_strings" if words else "classlabels_int64s": classes}
    to_integer: dict[str, Any] = {} if words else {"to": TensorProto.INT64}
    weights = [0.5, 1.0, -2.0, 0.25, -1.5, 0.75, 1.0, 2.0, 1.0, -0.5, 0.25, -1.0]
    nodes = [
        helper.make_node("LinearClassifier", ["X"], ["label", "probability_tensor"], coefficients=weights,
                         intercepts=[0.5, 0.0, -0.5], multi_class=1, post_transform="SOFTMAX", **labels, **ml),
        helper.make_node("Identity" if words else "Cast", ["label"], ["output_label"], **to_integer),
        helper.make_node("Normalizer", ["probability_tensor"], ["probabilities"], norm="L1", **ml),
        helper.make_node("ZipMap", ["probabilities"], ["output_probability"], **keys, **ml),
    ]  # fmt: skip
    key = TensorProto.STRING if words else TensorProto.INT64
    of_maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("output_label", key, [None]),
            helper.make_value_info("output_probability", of_maps),
        ],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 1), helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
