"""What ONNX Runtime computes, as its versions tell it: against sessions of the one installed, and by example."""

import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, parser

from serving.onnx_files.kernels import Kernels, kernels_of, read
from serving.onnx_files.operator_uses import operator_uses
from serving.onnx_files.record_kernels import ask, recorded
from serving.onnx_files.releases import ONNX_RUNTIME, newest_opset
from tests.support.foreign_models import NODE_CASES

CASES = (
    *NODE_CASES, "argmax", "celu", "center_crop_pad", "clip", "elu", "hardswish", "layernormalization", "onehot",
)  # fmt: skip
"""Modules of onnx.backend.test.case.node: also functions of ONNX, kernels of few types and one of no type."""

RETYPED = (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT32, TensorProto.UINT16)
NEWEST_OPSET = 26
"""Of a released ONNX; the cases of the package are of the next one too."""


@pytest.fixture(scope="module")
def installed() -> Kernels:
    """The kernels of the ONNX Runtime that is installed, recorded and read again."""
    told = ask(str(Path(onnxruntime.__file__).parents[1]))
    return read(recorded([told]), onnxruntime.__version__)


def models() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Cases of the ONNX project, as they are and with float32 as something else where ONNX allows that."""
    node = importlib.import_module("onnx.backend.test.case.node")
    for module in CASES:
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    for case in node._NodeTestCases:
        if newest_opset(case.model) <= NEWEST_OPSET:
            yield case.name, case.model
            for kind in RETYPED:
                changed = retyped(case.model, kind)
                if changed is not None:
                    yield f"{case.name} in {TensorProto.DataType.Name(kind)}", changed


def retyped(model: onnx.ModelProto, kind: int) -> onnx.ModelProto | None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    tensors = [value.type.tensor_type for value in (*changed.graph.input, *changed.graph.output)]
    floats = [tensor for tensor in tensors if tensor.elem_type == TensorProto.FLOAT]
    for tensor in floats:
        tensor.elem_type = kind
    try:
        onnx.checker.check_model(changed, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None
    return changed if floats else None


def loads(model: onnx.ModelProto) -> bool | None:
    """Whether a session has all kernels; None where something else is wrong with the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        return False if "Could not find an implementation" in str(error) else None
    return True


@pytest.mark.slow
def test_what_the_lists_say_is_what_a_session_does(installed: Kernels) -> None:
    outcomes: Counter[tuple[bool, bool]] = Counter()
    wrong = []
    for name, model in models():
        if (there := loads(model)) is not None:
            said = not installed.lacking(model)
            outcomes[there, said] += 1
            if there and not said:
                wrong.append((name, installed.lacking(model)))
    assert not wrong
    assert outcomes[True, True] > 200
    assert outcomes[False, False] > 50
    # What is written out only by ONNX Runtime, or in other types than ONNX's own package infers, may be missed.
    assert outcomes[False, True] < outcomes[False, False] / 20


def test_every_release_has_its_list() -> None:
    for release, version in ONNX_RUNTIME.items():
        kernels = kernels_of(version)
        assert {"ai.onnx", "ai.onnx.ml", "com.microsoft"} <= kernels.domains, release
        assert len(kernels.by_operator) > 250, release


def model(text: str, opset: int = 20) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1, "mine": 1]> {text}')


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("g (float[2] x) => (float[2] y) { y = Softsign(x) }", []),
        ("g (double[2] x) => (double[2] y) { y = Softsign(x) }", ["Softsign"]),
        ("g (float16[2] x) => (float16[2] y) { y = Softsign(x) }", []),  # computed as float
        ("g (bfloat16[2] x) => (bfloat16[2] y) { y = Softsign(x) }", ["Softsign"]),
        ("g (float[2] x) => (float[2] y) { y = HardSwish(x) }", []),  # written out by its definition
        ("g (double[2] x) => (double[2] y) { y = HardSwish(x) }", ["HardSwish"]),  # part of which is HardSigmoid
        ("g (double[2] x) => (double[2] y) { a = Neg(x) b = com.microsoft.Gelu(a) y = Softsign(b) }", ["Gelu"]),
        ("g (float[2] x) => (float[2] y) { y = com.microsoft.NewerThanAny(x) }", ["NewerThanAny"]),
        ("g (double[2] x) => (double[2] y) { y = mine.Own(x) }", []),  # a library's: nobody knows
        (
            "g (double[2] x) => (double[2] y) { y = mine.soft(x) } "
            '<domain: "mine", opset_import: ["": 20]> soft (a) => (b) { b = Softsign(a) }',
            ["Softsign"],
        ),
        (
            "g (double[2] x, bool f) => (double[2] y) { y = If (f) <then_branch = t () => (double[2] a) "
            "{ a = Softsign(x) }, else_branch = e () => (double[2] b) { b = Identity(x) }> }",
            ["Softsign"],
        ),
        ("g (float[2, 2] x) => (int64[2] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }", []),
        ("g (int64[2, 2] x) => (int64[2] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }", ["ArgMax"]),
    ],
)
def test_what_a_release_lacks(text: str, lacking: list[str]) -> None:
    assert [use.operator for use in kernels_of("1.19.2").lacking(model(text))] == lacking


def test_a_later_release_may_have_it() -> None:
    whole = model("g (int64[2, 2] x) => (int64[2] y) { y = ArgMax<axis = 1, keepdims = 0>(x) }")
    assert kernels_of("1.19.2").lacking(whole)
    assert not kernels_of("1.20.1").lacking(whole)
    assert not kernels_of("1.27").lacking(whole), "a version without a patch"


@pytest.mark.parametrize(
    ("bits", "level", "first"),
    [(4, 0, "1.17.3"), (4, 4, "1.17.3"), (8, 4, "1.22.0"), (8, 0, "1.23.0"), (2, 0, "1.24.1")],
)
def test_weights_of_few_bits_need_a_version_that_takes_their_attributes(bits: int, level: int, first: str) -> None:
    whole = model(
        "g (float[2, 32] x, uint8[4, 1, 16] w, float[4] s) => (float[2, 4] y) { y = com.microsoft.MatMulNBits"
        f"<K = 32, N = 4, bits = {bits}, block_size = 32, accuracy_level = {level}>(x, w, s) }}"
    )
    versions = list(dict.fromkeys(ONNX_RUNTIME.values()))
    assert [not kernels_of(version).lacking(whole) for version in versions] == [
        versions.index(version) >= versions.index(first) for version in versions
    ]


def test_what_cannot_be_written_out_here_counts_as_right() -> None:
    rotated = (
        "g (bfloat16[1, 2, 3, 4] x, bfloat16[9, 2] c, bfloat16[9, 2] s, int64[1, 3] p) => (bfloat16[1, 2, 3, 4] y)"
    )
    whole = model(rotated + " { y = RotaryEmbedding(x, c, s, p) }", opset=23)
    assert kernels_of("1.27").lacking(whole) == []
    clipped = model("g (bfloat16[2] x) => (bfloat16[2] y) { y = Clip(x, , ) }")
    assert kernels_of("1.27").lacking(clipped) == []


def test_a_use_says_what_it_takes() -> None:
    (use,) = operator_uses(model("g (float[2] x) => (float[2] y) { y = Clip(x, , x) }"))
    assert use.inputs == ("float", None, "float")
    assert use.types == ("float",)
    assert kernels_of("1.19.2").types(use) == ["double, float, float16, int32, int64, int8, uint32, uint64, uint8"]
