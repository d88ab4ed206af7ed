"""Models that show each configuration key that NVIDIA's C++ backend honours: what is served, and what is refused."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tests.support import graphs

AFFINE_CONFIG = """
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "doubled" data_type: TYPE_FP32 dims: [4] }
"""

# Long enough that requests sent at the same moment are sure to be batched, on a busy machine too.
TOGETHER = "dynamic_batching { max_queue_delay_microseconds: 300000 }\n"

DEFAULTED = "defaulted (float[n, 2] x, float[2] w) => (float[n, 2] y) <float[2] w = {2, 3}> { y = Mul(x, w) }"
DEFAULTED_ROW = "defaulted (float[n, 2] x, float[m, 2] w) => (float[n, 2] y) <float[1, 2] w = {2, 3}> { y = Mul(x, w) }"
OUTSIDE = (
    "outside (float[n, 40] x) => (float[n, 40] y) "
    f"<float[40] w = {{{', '.join(str(i) for i in range(40))}}}> {{ y = Mul(x, w) }}"
)
SQUARES = "squares (float[n, 2, 2] x) => (float[n, 4] y) <int64[2] flat = {0, 4}> { y = Reshape(x, flat) }"
NUMBERS = "numbers (float[n] x) => (float[n] y) { y = Neg(x) }"
FIXED = "fixed (float[4] x) => (float[4] y) { y = Neg(x) }"
BFLOAT16 = "bfloat16 (bfloat16[n, 4] x) => (bfloat16[n, 4] y) { y = Identity(x) }"

# Every kind of batch input, each made into something with a row for each request.
RAGGED = """
ragged (float[k] x, int32[n] counts, float[n] ends, int32[m] bounds, float[longest] widest, int32[n, 1] shapes,
        int32[n] flat_shapes)
    => (float[k] negated, int32[n] count, float[n] end, int32[n] same_count, int64[n] most, int32[n, 1] shape,
        int32[n] flat_shape)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {-1}, int64[1] many = {9999}>
{ negated = Neg(x)
  count = Identity(counts)
  end = Identity(ends)
  upper = Slice(bounds, one, many)
  lower = Slice(bounds, zero, last)
  same_count = Sub(upper, lower)
  length = Shape(widest)
  rows = Shape(counts)
  most = Expand(length, rows)
  shape = Identity(shapes)
  flat_shape = Identity(flat_shapes) }
"""


def _batch_input(kind: str, target: str, data_type: str = "TYPE_INT32") -> str:
    return f'batch_input {{ kind: {kind} target_name: "{target}" data_type: {data_type} source_input: "x" }}\n'


RAGGED_CONFIG = (
    'max_batch_size: 8\ninput { name: "x" data_type: TYPE_FP32 dims: [-1] allow_ragged_batch: true }\n'
    + _batch_input("BATCH_ELEMENT_COUNT", "counts")
    + _batch_input("BATCH_ACCUMULATED_ELEMENT_COUNT", "ends", "TYPE_FP32")
    + _batch_input("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "bounds")
    + _batch_input("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", "widest", "TYPE_FP32")
    + _batch_input("BATCH_ITEM_SHAPE", "shapes")
    + _batch_input("BATCH_ITEM_SHAPE_FLATTEN", "flat_shapes")
    + 'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "negated" source_input: "x" }\n'
    + 'output { name: "negated" data_type: TYPE_FP32 dims: [-1] }\n'
    + "".join(
        f'output {{ name: "{name}" data_type: {kind} dims: [1] reshape {{ shape: [] }} }}\n'
        for name, kind in {
            "count": "TYPE_INT32",
            "end": "TYPE_FP32",
            "same_count": "TYPE_INT32",
            "most": "TYPE_INT64",
            "flat_shape": "TYPE_INT32",
        }.items()
    )
    + 'output { name: "shape" data_type: TYPE_INT32 dims: [1] }\n'
    + TOGETHER
)

CPU_PARAMETERS = {
    "execution_mode": "1",
    "intra_op_thread_count": "1",
    "inter_op_thread_count": "2",
    "enable_mem_arena": "on",
    "enable_mem_pattern": "0",
    "memory.enable_memory_arena_shrinkage": "cpu:0;gpu:0",
    "cudnn_conv_algo_search": "1",
    "gpu_mem_limit": "1073741824",
    "arena_extend_strategy": "1",
    "do_copy_in_default_stream": "1",
    "of no backend": "ignored",
}


def _parameters(values: Mapping[str, str]) -> str:
    return "".join(f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n' for k, v in values.items())


class Served(NamedTuple):
    """A model that is served: where its graph lies, its configuration, a request, and what the answer must be."""

    graph: str
    config: str | None
    """The text of config.pbtxt but for the backend and one instance; None for no file."""
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    file: str = "model.onnx"


ONES = np.ones((2, 4), np.float32)
LINE = np.arange(40, dtype=np.float32)[None]
GPU_ACCELERATORS = (
    'optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" parameters { '
    'key: "precision_mode" value: "FP16" } }, { name: "cuda" parameters { key: "gpu_mem_limit" value: "1" } } ] } }'
)

SERVED: dict[str, Served] = {
    "parameters": Served(
        graphs.AFFINE, AFFINE_CONFIG + _parameters(CPU_PARAMETERS), {"x": ONES}, {"doubled": 2 * ONES}
    ),
    "not_optimized": Served(
        graphs.AFFINE, AFFINE_CONFIG + "optimization { graph { level: 2 } }", {"x": ONES}, {"doubled": 2 * ONES}
    ),
    "for_a_gpu": Served(graphs.AFFINE, AFFINE_CONFIG + GPU_ACCELERATORS, {"x": ONES}, {"doubled": 2 * ONES}),
    "other_file": Served(
        graphs.AFFINE,
        AFFINE_CONFIG + 'default_model_filename: "other.onnx"',
        {"x": ONES},
        {"doubled": 2 * ONES},
        "other.onnx",
    ),
    "outside": Served(
        OUTSIDE,
        'max_batch_size: 8 default_model_filename: "network"\n'
        'input { name: "x" data_type: TYPE_FP32 dims: [40] } output { name: "y" data_type: TYPE_FP32 dims: [40] }',
        {"x": np.ones_like(LINE)},
        {"y": LINE},
        "network/model.onnx",
    ),
    "reshaped": Served(
        SQUARES,
        'max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: [4] reshape { shape: [2, 2] } }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [1, 2, 2] reshape { shape: [4] } }',
        {"x": ONES},
        {"y": ONES.reshape(2, 1, 2, 2)},
    ),
    "reshaped_unbatched": Served(
        FIXED,
        'input { name: "x" data_type: TYPE_FP32 dims: [2, 2] reshape { shape: [4] } }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [4, 1] reshape { shape: [4] } }',
        {"x": np.ones((2, 2), np.float32)},
        {"y": -np.ones((4, 1), np.float32)},
    ),
    "reshaped_to_nothing": Served(
        NUMBERS,
        'max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }',
        {"x": ONES[:, :1]},
        {"y": -ONES[:, :1]},
    ),
    "scalars": Served(
        "scalars (double x, bool no) => (double y, bool yes) { y = Sqrt(x) yes = Not(no) }",
        'input [{ name: "x" data_type: TYPE_FP64 dims: [1] }, { name: "no" data_type: TYPE_BOOL dims: [1] }]\n'
        'output [{ name: "y" data_type: TYPE_FP64 dims: [1] }, { name: "yes" data_type: TYPE_BOOL dims: [1] }]',
        {"x": np.array([9.0]), "no": np.array([False])},
        {"y": np.array([3.0]), "yes": np.array([True])},
    ),
    "narrowed": Served(
        graphs.LENGTHS,
        'max_batch_size: 8 input { name: "tokens" data_type: TYPE_INT64 dims: [1] }\n'
        'output { name: "features" data_type: TYPE_FP32 dims: [-1, 2] }',
        {"tokens": np.array([[7]])},
        {"features": np.array([[[7, -7]]], np.float32)},
    ),
    "text": Served(
        "text (string[n, 3] s) => (string[n, 3] t) { t = Identity(s) }",
        'max_batch_size: 8 input { name: "s" data_type: TYPE_STRING dims: [3] }\n'
        'output { name: "t" data_type: TYPE_STRING dims: [3] }',
        {"s": np.array([[b"a\0b", b"\0", "Käse 🐚 貝 \U0010ffff".encode()]], dtype=object)},
        {"t": np.array([[b"a\0b", b"\0", "Käse 🐚 貝 \U0010ffff".encode()]], dtype=object)},
    ),
    "optional": Served(
        DEFAULTED,
        'input [{ name: "x" data_type: TYPE_FP32 dims: [-1, 2] },\n'
        '  { name: "w" data_type: TYPE_FP32 dims: [2] optional: true }]\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [-1, 2] }',
        {"x": ONES[:, :2], "w": np.array([5, 7], np.float32)},
        {"y": np.array([[5, 7], [5, 7]], np.float32)},
    ),
    "optional_batched": Served(
        DEFAULTED_ROW,
        'max_batch_size: 8 input [{ name: "x" data_type: TYPE_FP32 dims: [2] },\n'
        '  { name: "w" data_type: TYPE_FP32 dims: [2] optional: true }]\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [2] }\n' + TOGETHER,
        {"x": ONES[:, :2], "w": np.array([[5, 7], [1, 2]], np.float32)},
        {"y": np.array([[5, 7], [1, 2]], np.float32)},
    ),
    "initializer": Served(
        DEFAULTED,
        'max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: [2] }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [2] }',
        {"x": ONES[:, :2]},
        {"y": np.array([[2, 3], [2, 3]], np.float32)},
    ),
    "no_config": Served(
        graphs.AFFINE, None, {"x": ONES}, {"doubled": 2 * ONES, "total": np.full((2, 1), 4, np.float32)}
    ),
    "partial_config": Served(
        graphs.AFFINE,
        'output { name: "total" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }',
        {"x": ONES},
        {"total": np.full((2, 1), 4, np.float32)},
    ),
    "no_batch_axis": Served(FIXED, "", {"x": ONES[0]}, {"y": -ONES[0]}),
    "labelled": Served(
        graphs.CLASSIFY,
        'max_batch_size: 8 input { name: "image" data_type: TYPE_UINT8 dims: [4, 4, 1] }\n'
        'output { name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }',
        {"image": np.zeros((1, 4, 4, 1), np.uint8)},
        {"probabilities": np.full((1, 3), 1 / 3, np.float32)},
    ),
    "threads_1": Served(
        graphs.AFFINE, AFFINE_CONFIG + _parameters({"intra_op_thread_count": "1"}), {"x": ONES}, {"doubled": 2 * ONES}
    ),
    "threads_9": Served(
        graphs.AFFINE, AFFINE_CONFIG + _parameters({"intra_op_thread_count": "9"}), {"x": ONES}, {"doubled": 2 * ONES}
    ),
    "ragged": Served(
        RAGGED, RAGGED_CONFIG, {"x": ONES[:1, :3]}, {"negated": -ONES[:1, :3], "count": np.array([[3]], np.int32)}
    ),
}


class Refused(NamedTuple):
    """A model that is not served, and what its load error says."""

    graph: str
    config: str
    message: str


def _accelerated(device: str, name: str, parameters: str = "") -> str:
    return (
        AFFINE_CONFIG + f"optimization {{ execution_accelerators {{ {device}_execution_accelerator : "
        f'[ {{ name: "{name}" {parameters} }} ] }} }}'
    )


def _tensors(inputs: str, output: str) -> str:
    return f'max_batch_size: 8 input {{ name: "x" {inputs} }} output {{ name: "doubled" {output} }}'


REFUSED: dict[str, Refused] = {
    "mad_threads": Refused(
        graphs.AFFINE,
        AFFINE_CONFIG + _parameters({"intra_op_thread_count": "99999999999"}),
        "parameter 'intra_op_thread_count' is '99999999999', allowed are 0 to 1024",
    ),
    "mode": Refused(
        graphs.AFFINE,
        AFFINE_CONFIG + _parameters({"execution_mode": "2"}),
        "'execution_mode' is '2', allowed are 0 to 1",
    ),
    "search": Refused(
        graphs.AFFINE,
        AFFINE_CONFIG + _parameters({"cudnn_conv_algo_search": "9"}),
        "parameter 'cudnn_conv_algo_search' is '9', allowed are 0, 1, 2",
    ),
    "accelerator": Refused(
        graphs.AFFINE,
        _accelerated("gpu", "warp"),
        "there is no gpu execution accelerator 'warp', allowed are tensorrt, cuda",
    ),
    "precision": Refused(
        graphs.AFFINE,
        _accelerated("gpu", "tensorrt", 'parameters { key: "precision_mode" value: "FP4" }'),
        "parameter 'precision_mode' is 'FP4', allowed are FP32, FP16, BF16, INT8",
    ),
    "openvino": Refused(
        graphs.AFFINE,
        _accelerated("cpu", "openvino"),
        "cpu execution accelerator 'openvino' needs OpenVINOExecutionProv",
    ),
    "no_file": Refused(graphs.AFFINE, AFFINE_CONFIG + 'default_model_filename: "none.onnx"', r"/1/none\.onnx"),
    "fixed_batch": Refused(
        "fixed (float[1, 4] x) => (float[1, 4] doubled) { doubled = Add(x, x) }",
        AFFINE_CONFIG,
        r"input 'x': max_batch_size above 0 needs a dynamic first axis, the graph's shape is \[1, 4\]",
    ),
    "wrong_type": Refused(
        graphs.AFFINE,
        _tensors("data_type: TYPE_FP64 dims: [4]", "data_type: TYPE_FP32 dims: [4]"),
        "input 'x' has type TYPE_FP64, the graph's is TYPE_FP32",
    ),
    "wrong_shape": Refused(
        graphs.AFFINE,
        _tensors("data_type: TYPE_FP32 dims: [4]", "data_type: TYPE_FP32 dims: [-1]"),
        r"output 'doubled' has shape \[-1, -1\] \(with the batch axis\), the graph's is \[-1, 4\]",
    ),
    "wrong_name": Refused(
        graphs.AFFINE,
        AFFINE_CONFIG.replace("doubled", "tripled"),
        r"output 'tripled' is not in the graph, which has \['d",
    ),
    "bfloat16": Refused(BFLOAT16, "", r"input 'x' has type tensor\(bfloat16\), which cannot be served, allowed are"),
    "completed_batch": Refused(FIXED, "max_batch_size: 8", "'x' has the shape .4. without an open first axis"),
    "no_library": Refused(
        graphs.AFFINE,
        AFFINE_CONFIG + 'model_operations { op_library_filename: ["/nowhere/operators.so"] }',
        r"/nowhere/operators\.so",
    ),
    "broken_file": Refused("", AFFINE_CONFIG, r"Protobuf parsing failed"),
}
