"""The node that is wrong is named, in about log2(nodes) runs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from export.conversion.convert import EXPORTERS, Exporter, convert
from export.diagnosis.culprit import Culprit, find_culprit
from export.proof.parity import parity_grid
from tests.support import breaking, modules
from training.recipe import Served

LAYERS = 40


class Deep(nn.Module):
    """Forty layers with a skip around each, so that no error fades: float32 [batch, 4] to [batch, 3]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(LAYERS))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x) * 0.1)
        return self.head(x)


@pytest.fixture(params=EXPORTERS)
def exporter(request: pytest.FixtureRequest) -> Exporter:
    choice: Exporter = request.param
    return choice


def found(served: Served, model: onnx.ModelProto, folder: Path) -> Culprit:
    path = folder / "changed.onnx"
    onnx.save(model, path)
    grid = parity_grid(served, path)
    assert not grid.passed
    culprit = find_culprit(served, path, grid)
    assert culprit is not None
    return culprit


@pytest.mark.slow
def test_a_changed_weight_is_named_with_its_module(tmp_path: Path, exporter: Exporter) -> None:
    served = breaking.served(Deep())
    convert(served, tmp_path / "model.onnx", exporter)
    model = onnx.load(tmp_path / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "layers.17.bias")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    culprit = found(served, model, tmp_path)
    assert culprit.module == "layers.17"
    assert culprit.operator in ("Gemm", "MatMul", "Add")
    assert "'layers.17.bias' differs from the module's by 0.01" in culprit.cause
    assert "module 'layers.17'" in str(culprit)


@pytest.mark.slow
def test_a_replaced_node_is_named_and_found_by_bisection(tmp_path: Path, exporter: Exporter) -> None:
    served = breaking.served(Deep())
    convert(served, tmp_path / "model.onnx", exporter)
    model = onnx.load(tmp_path / "model.onnx")
    replaced = [node for node in model.graph.node if node.op_type == "Tanh"][23]
    replaced.op_type = "Sigmoid"
    culprit = found(served, model, tmp_path)
    assert (culprit.node, culprit.operator) == (replaced.name, "Sigmoid")
    assert "approximation" in culprit.cause
    nodes = len(model.graph.node)
    assert nodes > 90
    # The bisection itself, the end's check, and the cuts looked at behind the suspect.
    assert culprit.runs <= np.ceil(np.log2(nodes)) + 1 + 7


@pytest.mark.slow
def test_a_node_put_in_between_is_named_wherever_it_is(tmp_path: Path) -> None:
    served = breaking.served(Deep())
    convert(served, tmp_path / "model.onnx", "dynamo")
    good = onnx.load(tmp_path / "model.onnx")
    for position in (0, 1, 30, 77, len(good.graph.node) - 2, len(good.graph.node) - 1):
        model = onnx.ModelProto()
        model.CopyFrom(good)
        node = model.graph.node[position]
        output, node.output[0] = node.output[0], "before"
        model.graph.initializer.append(numpy_helper.from_array(np.array(1.02, np.float32), "factor"))
        model.graph.node.insert(position + 1, helper.make_node("Mul", ["before", "factor"], [output], name="fault"))
        assert found(served, model, tmp_path).node == "fault", position


def test_a_node_that_fails_to_run_is_named(tmp_path: Path) -> None:
    served = modules.served(modules.FreezesBatch())
    path = tmp_path / "model.onnx"
    convert(served, path, "torchscript")
    served.module.forward = modules.Affine().forward
    culprit = find_culprit(served, path, parity_grid(served, path))
    assert culprit is not None
    assert culprit.operator == "Reshape"
    assert "written into the graph as a constant" in culprit.cause


def test_a_node_that_mixes_rows_is_named(tmp_path: Path, exporter: Exporter) -> None:
    served = modules.served(modules.MixesRows())
    path = tmp_path / "model.onnx"
    convert(served, path, exporter)
    culprit = find_culprit(served, path, parity_grid(served, path))
    assert culprit is not None
    assert culprit.operator == "ReduceMean"
    assert "rows of a batch depend on each other" in culprit.cause


def test_a_right_file_has_no_culprit(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    path = tmp_path / "model.onnx"
    convert(served, path, "torchscript")
    assert find_culprit(served, path, parity_grid(served, path)) is None
