"""What is large is not copied where nothing is done with the copy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.proof.float64 import float64_module, float64_predict
from serving.onnx_files.operator_uses import inferred
from serving.onnx_files.weightless import without_weights
from training.served import Served
from training.tensors import Tensor

WIDE = 600
"""Of a square weight, more than a megabyte."""


def served(module: nn.Module) -> Served:
    tensor = Tensor("x", "float32", ("batch", WIDE))
    examples = np.random.default_rng(0).normal(size=(4, WIDE)).astype(np.float32)
    return Served("wide", module.eval(), (tensor,), (Tensor("y", "float32", ("batch", WIDE)),), {"x": examples})


class Asking(nn.Module):
    """Refuses weights of another dtype than its input's, as `nn.LSTM` does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDE, WIDE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != self.layer.weight.dtype:
            raise TypeError("of another dtype")
        return self.layer(x)


@pytest.mark.parametrize(
    "make", [lambda: nn.Sequential(nn.Linear(WIDE, WIDE), nn.BatchNorm1d(WIDE), nn.Linear(WIDE, WIDE)), Asking]
)
def test_the_float64_reference_answers_the_same_with_shared_weights(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    subject = served(make())
    answers = float64_predict(subject)(subject.examples)["y"]
    with torch.no_grad():
        expected = float64_module(subject)(torch.from_numpy(subject.examples["x"]).double()).numpy()
    assert answers.dtype == np.float64
    np.testing.assert_array_equal(answers, expected)
    assert {parameter.dtype for parameter in subject.module.parameters()} == {torch.float32}, "it is left as it was"


def test_large_weights_are_in_memory_once() -> None:
    subject = served(nn.Sequential(nn.Linear(WIDE, WIDE), nn.Linear(WIDE, 2)))
    weights = dict(float64_module(subject, share=True).named_parameters())
    assert weights["0.weight"] is subject.module.get_parameter("0.weight")
    assert {name: weight.dtype for name, weight in weights.items() if name != "0.weight"} == dict.fromkeys(
        ("0.bias", "1.weight", "1.bias"), torch.float64
    )


def test_types_and_shapes_are_inferred_without_the_bytes_of_weights() -> None:
    weight = np.ones((WIDE, WIDE), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Reshape", ["h", "shape"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([-1, 2, WIDE // 2]), "shape")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    before = model.SerializeToString()
    light = without_weights(model)
    assert light.ByteSize() < 2000
    assert model.SerializeToString() == before
    whole = onnx.shape_inference.infer_shapes(model)
    found = inferred(model)
    assert [*found.graph.value_info] == [*whole.graph.value_info]
    assert [*found.graph.output] == [*whole.graph.output]
    assert found.graph.output[0].type.tensor_type.shape.dim[2].dim_value == WIDE // 2
    assert found.opset_import == model.opset_import


PEAK = """
import resource, sys
import onnxruntime, onnxscript, torch.export, torch.onnx
from export.__main__ import main
began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = main(sys.argv[1:])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began) * 1024, file=sys.stderr)
sys.exit(code)
"""
NET = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(9)))
"""


@pytest.mark.long
def test_an_export_takes_a_few_times_the_weights(tmp_path: Path, artifacts: Path) -> None:
    """Beyond what is imported: 151 MB of weights, of which ONNX Runtime alone keeps two copies."""
    (tmp_path / "net.py").write_text(NET)
    words = ["module", f"{tmp_path / 'net.py'}:net", "--input", "x:float32[batch,2048]<-1,1>", "--name", "net"]
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) < 7 * 9 * 2048 * 2048 * 4
