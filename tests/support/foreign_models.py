"""ONNX models that Conch did not make: the onnx package's own test cases, and graphs written here.

Each comes with inputs and, where the onnx package brings them, the outputs that its specification asks for.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper, parser

from tests.support.graphs import TYPES

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Foreign:
    """A model, one request for it, and what the answer must be where that is known beforehand."""

    name: str
    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays = field(default_factory=dict)
    batched: bool = False
    """Whether it is expected to be served in batches."""


# Module of onnx.backend.test.case.node -> its cases. Those that need a shape, an index or a repetition as input do not
# run on generated inputs and are published with their own.
NODE_CASES = {
    "and_": ["test_and_bcast4v3d"],
    "ai_onnx_ml.label_encoder": ["test_ai_onnx_ml_label_encoder_string_int"],
    "ai_onnx_ml.tree_ensemble": ["test_ai_onnx_ml_tree_ensemble_set_membership"],
    "ai_onnx_ml.binarizer": ["test_ai_onnx_ml_binarizer"],
    "bitwiseand": ["test_bitwise_and_ui64_bcast_3v1d"],
    "bitwisenot": ["test_bitwise_not_3d"],
    "constantofshape": ["test_constantofshape_int_shape_zero"],
    "det": ["test_det_2d", "test_det_nd"],
    "dft": ["test_dft"],
    "dynamicquantizelinear": ["test_dynamicquantizelinear"],
    "equal": ["test_equal_string_broadcast"],
    "eyelike": ["test_eyelike_with_dtype"],
    "gru": ["test_gru_seq_length"],
    "isinf": ["test_isinf_float16"],
    "isnan": ["test_isnan"],
    "loop": ["test_loop11"],
    "lstm": ["test_lstm_with_peepholes"],
    "max": ["test_max_int8"],
    "nonmaxsuppression": ["test_nonmaxsuppression_two_classes", "test_nonmaxsuppression_two_batches"],
    "nonzero": ["test_nonzero_example"],
    "pow": ["test_pow_bcast_scalar"],
    "qlinearconv": ["test_qlinearconv"],
    "qlinearmatmul": ["test_qlinearmatmul_2D_int8_float16"],
    "reducesum": ["test_reduce_sum_empty_set_non_reduced_axis_zero"],
    "regex_full_match": ["test_regex_full_match_email_domain", "test_regex_full_match_empty"],
    "resize": ["test_resize_upsample_scales_cubic", "test_resize_downsample_sizes_nearest"],
    "scan": ["test_scan9_sum", "test_scan9_scalar"],
    "shape": ["test_shape"],
    "size": ["test_size"],
    "split": ["test_split_variable_parts_2d_opset18", "test_split_zero_size_splits_opset18"],
    "string_concat": ["test_string_concat_utf8", "test_string_concat_zero_dimensional"],
    "string_split": ["test_string_split_maxsplit", "test_string_split_empty_tensor"],
    "stringnormalizer": ["test_strnormalizer_nostopwords_nochangecase"],
    "sub": ["test_sub_uint16"],
    "tfidfvectorizer": ["test_tfidfvectorizer_tf_batch_uniandbigrams_skip5"],
    "topk": ["test_top_k"],
    "trilu": ["test_triu_zero"],
    "where": ["test_where_long_example"],
    "convtranspose": ["test_convtranspose_3d"],
}

# Folders of onnx.backend.test.data: files of IR 3 from 2017 and 2018, most of them written by PyTorch of that time.
FOLDERS = (
    "pytorch-converted/test_Conv2d_depthwise_strided",
    "pytorch-converted/test_Conv3d_dilated_strided",
    "pytorch-converted/test_Embedding",
    "pytorch-converted/test_PixelShuffle",
    "pytorch-operator/test_operator_repeat",
    "simple/test_expand_shape_model1",
    "simple/test_sign_model",
    "simple/test_strnorm_model_nostopwords_nochangecase",
)

HEADER = '<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1, "mine": 1]>'

GRAPHS = {
    "every_type": "every_type ({}) => ({}) {{ {} }}".format(
        ", ".join(f"{kind}[n, 2] i_{kind}" for kind in TYPES),
        ", ".join(f"{kind}[n, 2] o_{kind}" for kind in TYPES),
        " ".join(f"o_{kind} = Identity(i_{kind})" for kind in TYPES),
    ),
    "outside": "outside (float[n, 40] x) => (float[n, 40] y) "
    f"<float[40] w = {{{', '.join(str(i) for i in range(40))}}}> {{ y = Mul(x, w) }}",
    "branch": """
        branch (float[n, 3] x, bool flag) => (float[n, 3] y)
        { y = If (flag) <then_branch = t () => (float[n, 3] a) { a = Neg(x) },
                         else_branch = e () => (float[n, 3] b) { b = Abs(x) }> }
    """,
    "rows": "rows (float[n, 3] x, int64[n] k) => (float[n, 3] y, int64[n] next) "
    "<int64 one = {1}> { y = Neg(x) next = Add(k, one) }",
    "pairs": "pairs (float[n, k] x, float[n, k] y) => (float[n, k, 2] both, bool[n, k] more) "
    "<int64[1] last = {2}> { a = Unsqueeze(x, last) b = Unsqueeze(y, last) both = Concat<axis = 2>(a, b) "
    "more = Greater(x, y) }",
    "mixes_rows": "mixes_rows (float[n, 3] x) => (float[n, 3] y) { y = Softmax<axis = 0>(x) }",
    "odd_names": 'odd_names (float[n, 2] "a/b:0") => (float[n, 2] "../out put.1") { "../out put.1" = Neg("a/b:0") }',
    "contributed": "contributed (float[n, 4] x) => (float[n, 4] y) { y = com.microsoft.Gelu(x) }",
    "scalars": "scalars (double x, bool no) => (double y, bool yes) { y = Sqrt(x) yes = Not(no) }",
    "rank_6": "rank_6 (uint8[n, 1, 2, 1, 3, 1] x) => (uint8[n, 1, 3, 1, 2, 1] y) "
    "{ y = Transpose<perm = [0, 1, 4, 3, 2, 5]>(x) }",
    "keeps_positive": "keeps_positive (float[k] x) => (float[m] y) "
    "<float zero = {0}> { keep = Greater(x, zero) y = Compress<axis = 0>(x, keep) }",
    "unique": "unique (float[k] x) => (float[m] y, int64[m] at, int64[k] back, int64[m] count) "
    "{ y, at, back, count = Unique(x) }",
    "logarithm": "logarithm (float[n, 3] x) => (float[n, 3] y) { y = Log(x) }",
    "shouting": "shouting (string[n] text) => (string[n] twice, bool[n] long) "
    '{ twice = StringConcat(text, text) long = RegexFullMatch<pattern = ".{4,}">(text) }',
    "own_function": "own_function (float[n, 2] x) => (float[n, 2] y) { y = mine.twice(x) } "
    '<domain: "mine", opset_import: ["": 20]> twice (a) => (b) { b = Add(a, a) }',
    "legacy": "legacy (float[n, 2] x, float[2] w) => (float[n, 2] y) <float[2] w = {2, 3}> { y = Mul(x, w) }",
    "shapeless": "shapeless (float[n, 3] x) => (float y) { y = Relu(x) }",
}

BATCHED = {
    "every_type",
    "rows",
    "pairs",
    "odd_names",
    "contributed",
    "rank_6",
    "own_function",
    "logarithm",
    "shouting",
    "legacy",
    "shapeless",
    "outside",
}


def collect() -> list[Foreign]:
    """All of them."""
    return [*_node_cases(), *_folders(), *_graphs()]


def _node_cases() -> Iterator[Foreign]:
    node = importlib.import_module("onnx.backend.test.case.node")
    for module in NODE_CASES:
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    wanted = {name for names in NODE_CASES.values() for name in names}
    # collect_testcases() would make all 1,884, in eight seconds; importing a module makes its own.
    for case in node._NodeTestCases:
        if case.name in wanted:
            wanted.remove(case.name)
            inputs, outputs = case.data_sets[0]
            yield _with_data(case.name, case.model, inputs, outputs)
    assert not wanted, wanted


def _folders() -> Iterator[Foreign]:
    data = Path(onnx.backend.test.__file__).parent / "data"
    for folder in FOLDERS:
        model = onnx.load(data / folder / "model.onnx")
        pairs = []
        for kind in ("input", "output"):
            files = sorted(
                (data / folder / "test_data_set_0").glob(f"{kind}_*.pb"), key=lambda p: int(p.stem[len(kind) + 1 :])
            )
            pairs.append([numpy_helper.to_array(onnx.load_tensor(file)) for file in files])
        yield _with_data(folder.split("/")[1], model, *pairs)


def _with_data(name: str, model: onnx.ModelProto, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> Foreign:
    initialized = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in initialized]
    answers = [value.name for value in model.graph.output]
    return Foreign(
        name,
        model,
        {key: np.asarray(array) for key, array in zip(names, inputs, strict=True)},
        {key: np.asarray(array) for key, array in zip(answers, outputs, strict=True)},
    )


def _graphs() -> Iterator[Foreign]:
    draw = np.random.default_rng(1)
    for name, text in GRAPHS.items():
        model = parser.parse_model(HEADER + text)
        if name == "legacy":
            model.ir_version = 3
        if name == "shapeless":
            model.graph.output[0].type.tensor_type.ClearField("shape")
        initialized = {tensor.name for tensor in model.graph.initializer}
        inputs = {
            value.name: _drawn(draw, value.type.tensor_type)
            for value in model.graph.input
            if value.name not in initialized
        }
        yield Foreign(name, model, inputs, batched=name in BATCHED)


def _drawn(draw: np.random.Generator, kind: onnx.TypeProto.Tensor) -> np.ndarray:
    shape = [dim.dim_value or 5 for dim in kind.shape.dim]
    if kind.elem_type == onnx.TensorProto.STRING:
        return np.array(draw.choice(["", "Muschel", "a\0b", "貝", "\0"], shape), dtype=object)
    return np.asarray(draw.random(shape) * 100).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
