"""The grid passes what is right and names what is wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from conch.contracts.comparison import compare
from export.conversion.convert import EXPORTERS, Exporter, ExportError, convert
from export.proof.parity import parity_grid
from tests.support import modules
from training.recipe import Served


@pytest.fixture(params=EXPORTERS)
def exporter(request: pytest.FixtureRequest) -> Exporter:
    choice: Exporter = request.param
    return choice


def converted(served: Served, folder: Path, exporter: Exporter = "torchscript") -> Path:
    path = folder / "model.onnx"
    convert(served, path, exporter)
    return path


def test_a_right_graph_passes_every_cell(tmp_path: Path, exporter: Exporter) -> None:
    served = modules.served(modules.Affine())
    grid = parity_grid(served, converted(served, tmp_path, exporter))
    assert grid.failures == []
    assert grid.passed
    assert {cell.batch for cell in grid.cells} == {1, 2, 3, 7, 32}
    assert {cell.inputs for cell in grid.cells} == {"real", "low", "high"}


def test_the_graph_is_for_the_oldest_release_and_named_as_declared(tmp_path: Path, exporter: Exporter) -> None:
    model = onnx.load(converted(modules.served(modules.Affine()), tmp_path, exporter))
    assert model.ir_version == 10
    assert model.opset_import[0].version == 20
    assert model.graph.input[0].name == "x"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_wrong_weight_fails_every_cell_on_real_inputs(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    path = converted(served, tmp_path)
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), weight.name))
    onnx.save(model, path)
    grid = parity_grid(served, path)
    assert not grid.passed
    assert all("differs from PyTorch by" in cell.reason for cell in grid.cells if cell.inputs == "real")


def test_rows_that_influence_each_other_fail_though_pytorch_agrees(tmp_path: Path) -> None:
    served = modules.served(modules.MixesRows())
    grid = parity_grid(served, converted(served, tmp_path))
    failed = [cell for cell in grid.cells if not cell.passed]
    assert {cell.batch for cell in failed} == {2, 3, 7, 32}
    assert all("from the same row run alone" in cell.reason for cell in failed)
    assert all("from PyTorch" not in cell.reason for cell in failed)


def test_a_batch_frozen_inside_fails_in_the_signature_and_in_every_run(tmp_path: Path) -> None:
    served = modules.served(modules.FreezesBatch())
    path = converted(served, tmp_path)
    served.module.forward = modules.Affine().forward
    grid = parity_grid(served, path)
    assert "axis 0 (batch) is frozen at 2" in grid.signature[0]
    assert {cell.batch for cell in grid.cells if "the run failed" in cell.reason} == {1, 2, 3, 7, 32}


def test_an_axis_frozen_in_the_signature_is_named(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    path = converted(served, tmp_path)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, path)
    grid = parity_grid(served, path)
    assert not grid.passed
    assert "axis 0 (batch) is frozen at 2" in grid.failures[0]


def test_another_dtype_than_declared_is_named(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    path = converted(served, tmp_path)
    grid = parity_grid(modules.declared_otherwise(served, "float64"), path)
    assert grid.signature == ("output 'y' is float32, declared is float64",)
    assert not grid.passed


def test_a_module_in_training_mode_is_refused_by_name(tmp_path: Path, exporter: Exporter) -> None:
    served = modules.served(modules.LeftInTraining())
    served.module.norm.train()  # type: ignore[union-attr]
    with pytest.raises(ExportError, match=r"norm \(BatchNorm1d\) is in training mode; call \.eval\(\)"):
        converted(served, tmp_path, exporter)
    assert not (tmp_path / "model.onnx").exists()


def test_a_module_the_exporter_cannot_translate_says_which_exporter(tmp_path: Path) -> None:
    class Branches(modules.Affine):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) if x.sum() > 0 else x[:, :3]

    with pytest.raises(ExportError, match="the dynamo exporter failed"):
        converted(modules.served(Branches()), tmp_path, "dynamo")


@pytest.mark.parametrize(
    ("got", "expected", "allowed", "agrees"),
    [
        ([1.0, 2.0], [1.0, 2.0], (0.0, 0.0), True),
        ([1.0], [1.1], (0.05, 0.0), False),
        ([110.0], [100.0], (0.0, 0.11), True),
        ([np.nan], [np.nan], (0.0, 0.0), True),
        ([np.nan], [1.0], (1.0, 1.0), False),
        ([np.inf], [np.inf], (0.0, 0.0), True),
        ([np.inf], [1.0], (1.0, 1.0), False),
        ([0], [255], (1.0, 0.0), False),
    ],
)
def test_compare(got: list[float], expected: list[float], allowed: tuple[float, float], agrees: bool) -> None:
    assert compare(np.array(got), np.array(expected), allowed)[1] is agrees


def test_compare_does_not_wrap_around_in_uint8() -> None:
    difference, agrees = compare(np.array([0], np.uint8), np.array([255], np.uint8), (1, 0))
    assert difference == 255
    assert not agrees
