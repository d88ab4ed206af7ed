"""Small ONNX models made by hand: each shows one thing a backend has to get right."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import parser

from serving.onnx_files.trial_inputs import dtype_of

HEADER = '<ir_version: 10, opset_import: ["": 20]>'  # what the oldest supported Triton loads

# Two outputs, one of them one number an item (a shape of [batch]).
AFFINE = """
affine (float[batch, 4] x) => (float[batch, 4] doubled, float[batch] total)
<int64[1] axis = {1}>
{ doubled = Add(x, x)
  total = ReduceSum<keepdims = 0>(x, axis) }
"""

# Fails at run time on an index outside the table: what no check of types and shapes can catch.
PICK = """
pick (int64[batch, 1] index) => (float[batch, 1] value)
<float[10] table = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90}>
{ value = Gather(table, index) }
"""

# As a classifier of images: pixels in, probabilities out.
CLASSIFY = f"""
classify (uint8[batch, 4, 4, 1] image) => (float[batch, 3] probabilities)
<int64[2] flat = {{-1, 16}}, float[16, 3] weight = {{{", ".join(str((7 * i) % 11 / 1000) for i in range(48))}}}>
{{ pixels = Cast<to = 1>(image)
  rows = Reshape(pixels, flat)
  logits = MatMul(rows, weight)
  probabilities = Softmax<axis = -1>(logits) }}
"""

# A second axis of any length.
LENGTHS = """
lengths (int64[batch, time] tokens) => (float[batch, time, 2] features)
<int64[1] last = {2}>
{ numbers = Cast<to = 1>(tokens)
  column = Unsqueeze(numbers, last)
  negated = Neg(column)
  features = Concat<axis = 2>(column, negated) }
"""

# No batch axis: requests are run one by one. Scalars go in and out.
UNBATCHED = """
unbatched (float[2, 3] x, float factor) => (float[2, 3] scaled, float total)
{ scaled = Mul(x, factor)
  total = ReduceSum<keepdims = 0>(x) }
"""

# A wrong graph: it answers fewer items than the batch has, where a sum is not positive.
DROPPING = """
dropping (float[batch, 4] x) => (float[batch, 4] y)
<int64[1] axis = {1}, float zero = {0}>
{ total = ReduceSum<keepdims = 0>(x, axis)
  positive = Greater(total, zero)
  y = Compress<axis = 0>(x, positive) }
"""

TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
"""ONNX's name of each type that can be served -> the name on the wire."""

# Every type through the server and back.
IDENTITIES = "identities ({inputs}) => ({outputs}) {{ {nodes} }}".format(
    inputs=", ".join(f"{kind}[batch, 2] in_{kind}" for kind in TYPES),
    outputs=", ".join(f"{kind}[batch, 2] out_{kind}" for kind in TYPES),
    nodes="\n".join(f"out_{kind} = Identity(in_{kind})" for kind in TYPES),
)


def write(graph: str, file: Path) -> Path:
    """Check the graph, given in ONNX's text format, and write it as a model to `file`."""
    model = parser.parse_model(HEADER + graph)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def golden(onnx_file: Path, batched: bool = True) -> dict[str, np.ndarray]:
    """One item of ones and its answers, as `publish` takes them; axes of open length are 1."""
    session = onnxruntime.InferenceSession(onnx_file)
    inputs: dict[str, np.ndarray] = {}
    for tensor in session.get_inputs():
        ones = np.ones([size if isinstance(size, int) else 1 for size in tensor.shape], np.int8)
        inputs[tensor.name] = ones.astype(str if tensor.type == "tensor(string)" else dtype_of(tensor.type))
    feeds = {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in inputs.items()}
    answers = session.run(None, feeds)
    outputs = {o.name: np.asarray(a) for o, a in zip(session.get_outputs(), answers, strict=True)}
    outputs = {name: array.astype(str) if array.dtype == object else array for name, array in outputs.items()}
    arrays = {f"inputs/{name}": a for name, a in inputs.items()} | {f"outputs/{name}": a for name, a in outputs.items()}
    return arrays if batched else {key: np.atleast_1d(array)[np.newaxis] for key, array in arrays.items()}
