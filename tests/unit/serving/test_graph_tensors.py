"""A configuration that does not fit its graph is refused at load, by the rules of NVIDIA's C++ backend."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from tests.support import graphs
from tests.unit.serving.conftest import Import

FIXED = "fixed (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }"
OPEN = "open (float[n, m] x) => (float[n, m] y) { y = Relu(x) }"
FLAT = "flat (float[k] x, int32[n] counts) => (float[k] y, int32[n] same) { y = Relu(x) same = Identity(counts) }"
DEFAULTED = "defaulted (float[n, 2] x, float[2] w) => (float[n, 2] y) <float[2] w = {2, 3}> { y = Mul(x, w) }"
SCALAR = "scalar (float[n, 4] x, float factor) => (float[n, 4] y) { y = Mul(x, factor) }"
BFLOAT16 = "bfloat16 (bfloat16[n, 4] x) => (bfloat16[n, 4] y) { y = Identity(x) }"


def tensor(name: str, kind: str, *dims: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": [str(dim) for dim in dims], **more}


def floats(name: str, *dims: int, **more: Any) -> dict[str, Any]:
    return tensor(name, "TYPE_FP32", *dims, **more)


def config(inputs: list[Any], outputs: list[Any], max_batch_size: int = 8, **more: Any) -> dict[str, Any]:
    return {"max_batch_size": max_batch_size, "input": inputs, "output": outputs, **more}


def session(graph: str, file: Path) -> ort.InferenceSession:
    """Of a graph that the checker may not like: types that Triton has not, and initializers that are inputs."""
    onnx.save(parser.parse_model(graphs.HEADER + graph), file)
    return ort.InferenceSession(file)


X, Y = floats("x", 4), floats("y", 4)
DOUBLED, TOTAL = floats("doubled", 4), floats("total", 1, reshape={"shape": []})
COUNTS = {"kind": "BATCH_ELEMENT_COUNT", "target_name": ["counts"], "data_type": "TYPE_INT32", "source_input": ["x"]}

FITS = {
    "all of it": (graphs.AFFINE, config([X], [DOUBLED, TOTAL])),
    "some outputs": (graphs.AFFINE, config([X], [DOUBLED])),
    "unbatched": (graphs.AFFINE, config([floats("x", -1, 4)], [floats("total", -1)], 0)),
    "narrowed input": (OPEN, config([floats("x", 3)], [floats("y", -1)])),
    "narrowed batch": (OPEN, config([floats("x", 1, 3)], [floats("y", -1, -1)], 0)),
    "reshaped": (
        OPEN,
        config([floats("x", 2, 2, reshape={"shape": ["4"]})], [floats("y", 1, reshape={"shape": ["-1"]})]),
    ),
    "scalar": (SCALAR, config([X, floats("factor", 1)], [Y])),
    "scalar, unbatched": (SCALAR, config([floats("x", -1, 4), floats("factor", 1, 1)], [floats("y", -1, 4)], 0)),
    "optional": (DEFAULTED, config([floats("x", -1, 2), floats("w", 2, optional=True)], [floats("y", -1, 2)], 0)),
    "optional left out": (DEFAULTED, config([floats("x", 2)], [floats("y", 2)])),
    "ragged": (FLAT, config([floats("x", -1, allow_ragged_batch=True)], [], batch_input=[COUNTS])),
    "scattered": (
        FLAT,
        config(
            [floats("x", -1, allow_ragged_batch=True)],
            [floats("y", -1)],
            batch_input=[COUNTS],
            batch_output=[{"target_name": ["y"], "source_input": ["x"], "kind": "BATCH_SCATTER_WITH_INPUT_SHAPE"}],
        ),
    ),
    "state": (
        SCALAR,
        config([X], [Y], sequence_batching={"state": [{"input_name": "factor", "output_name": "y"}]}),
    ),
    "control": (SCALAR, config([X], [Y], sequence_batching={"control_input": [{"name": "factor"}]})),
}


@pytest.mark.parametrize("case", FITS)
def test_what_fits_is_served(backend: Import, tmp_path: Path, case: str) -> None:
    graph, configuration = FITS[case]
    backend("graph_tensors").check_config(configuration, session(graph, tmp_path / "model.onnx"))


DOES_NOT = {
    "unknown input": (graphs.AFFINE, config([floats("y", 4)], []), r"input 'y' is not in the graph, which has \['x'\]"),
    "unknown output": (
        graphs.AFFINE,
        config([X], [Y]),
        r"output 'y' is not in the graph, which has \['doubled', 'total",
    ),
    "missing input": (graphs.AFFINE, config([], [DOUBLED]), r"the graph needs the inputs \['x'\]"),
    "type": (
        graphs.AFFINE,
        config([tensor("x", "TYPE_FP64", 4)], []),
        "'x' has type TYPE_FP64, the graph's is TYPE_FP32",
    ),
    "no such type": (
        BFLOAT16,
        config([tensor("x", "TYPE_BF16", 4)], []),
        r"'x' has type tensor\(bfloat16\), which cann",
    ),
    "other length": (
        graphs.AFFINE,
        config([floats("x", 5)], []),
        r"'x' has shape \[-1, 5\] .*the graph's is \[-1, 4\]",
    ),
    "opened input": (
        graphs.AFFINE,
        config([floats("x", -1)], []),
        r"'x' has shape \[-1, -1\] .*the graph's is \[-1, 4\]",
    ),
    "narrowed output": (OPEN, config([X], [Y]), r"output 'y' has shape \[-1, 4\] .*the graph's is \[-1, -1\]"),
    "axes": (graphs.AFFINE, config([X], [floats("total", 1)]), r"'total' has shape \[-1, 1\] .*the graph's is \[-1\]"),
    "reshape": (OPEN, config([floats("x", 4, reshape={"shape": []})], []), r"'x' has shape \[-1\] .*the graph's is"),
    "no batch axis": (FIXED, config([X], [Y]), r"input 'x': max_batch_size above 0 needs a dynamic first axis"),
    "scalar": (SCALAR, config([X, floats("factor", 2)], [Y]), r"'factor' has dims \[2\], the graph's is a scalar"),
    "optional": (
        OPEN,
        config([floats("x", 4, optional=True)], []),
        "'x' is optional, but the graph has no initializer",
    ),
    "not optional": (
        DEFAULTED,
        config([floats("x", 2), floats("w", 2)], []),
        "'w' is an initializer .* `optional: true`",
    ),
    "ragged": (OPEN, config([floats("x", -1, allow_ragged_batch=True)], []), r"'x' is ragged: .* it has \[-1, -1\]"),
    "ragged, unbatched": (FLAT, config([floats("x", -1, allow_ragged_batch=True)], [], 0), "and max_batch_size is 0"),
}


@pytest.mark.parametrize("case", DOES_NOT)
def test_what_does_not_fit_is_refused_by_name(backend: Import, tmp_path: Path, case: str) -> None:
    graph, configuration, message = DOES_NOT[case]
    with pytest.raises(ValueError, match=message):
        backend("graph_tensors").check_config(configuration, session(graph, tmp_path / "model.onnx"))
