"""Verdicts by PyTorch's own error, and tolerances with a reason."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from conch.contracts.comparison import TOLERANCES
from conch.contracts.errors import ConchError
from export.conversion.convert import convert
from export.proof.budget import AS_EXACT, FACTOR, WORSE, WRONG, Errors, judge, tolerance, tolerances
from export.proof.cells import Grid
from export.proof.float64 import NoFloat64Error, float64_predict
from export.proof.parity import parity_grid
from tests.support import breaking, modules
from training.predict import torch_predict
from training.recipe import Predict, Served, Tensor, Tolerance


def grid_of(served: Served, folder: Path, weights_times: float = 1.0) -> Grid:
    path = folder / "model.onnx"
    convert(served, path, "torchscript")
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    changed = numpy_helper.to_array(weight) * np.float32(weights_times)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, path)
    return parity_grid(served, path)


def test_a_right_file_is_as_exact_as_pytorch(tmp_path: Path) -> None:
    (entry,) = grid_of(modules.served(modules.Affine()), tmp_path).budget
    assert entry.verdict == AS_EXACT
    assert entry.reference == "float64"
    assert entry.onnx_error <= entry.allowed


def test_a_small_departure_is_worse_and_a_large_one_is_wrong(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    worse = grid_of(served, tmp_path, 1 + 2e-6)
    assert [entry.verdict for entry in worse.budget] == [WORSE]
    assert worse.passed
    wrong = grid_of(served, tmp_path, 1.01)
    assert [entry.verdict for entry in wrong.budget] == [WRONG]
    assert not wrong.passed


def off_by(served: Served, times: float) -> Predict:
    """A program whose error against float64 is so many times PyTorch's own, element by element."""
    exact, own = float64_predict(served), torch_predict(served)

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        right, rounded = exact(inputs)["y"], own(inputs)["y"]
        return {"y": (right + times * (rounded - right)).astype(np.float32)}

    return predict


def test_where_float32_is_inexact_pytorchs_error_is_the_measure(tmp_path: Path) -> None:
    served = breaking.served(breaking.Coarse(), output=("batch", 4))
    path = tmp_path / "model.onnx"
    convert(served, path, "torchscript")
    assert parity_grid(served, path).passed
    # As far off on the other side of the right answer: beyond every tolerance of PyTorch's, and as exact as it.
    as_far = parity_grid(served, path, off_by(served, -0.75 * FACTOR))
    (entry,) = as_far.budget
    assert as_far.worst() > 10 * TOLERANCES["float32"][0] + TOLERANCES["float32"][1] * 3
    assert entry.torch_error < entry.onnx_error < entry.allowed
    assert as_far.passed
    assert entry.verdict == AS_EXACT
    # It is a measure and no excuse.
    farther = parity_grid(served, path, off_by(served, -1.25 * FACTOR))
    assert not farther.passed
    assert [entry.verdict for entry in farther.budget] == [WRONG]


def test_casts_to_float32_and_stray_constants_become_float64() -> None:
    served = breaking.served(breaking.CastsDown())
    module, x = served.module, served.examples["x"][:5]
    got = float64_predict(served)({"x": x})["y"]
    weight, bias = (parameter.detach().double().numpy() for parameter in module.layer.parameters())  # type: ignore
    shift = float(np.float32(0.1))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, (x.astype(np.float64) - shift) @ weight.T + bias, rtol=1e-14)
    assert torch.get_default_dtype() == torch.float32


def test_without_float64_pytorch_is_the_reference_and_it_is_said(tmp_path: Path) -> None:
    class OnlyFloat32(modules.Affine):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            return super().forward(x)

    served = modules.served(OnlyFloat32())
    with pytest.raises(NoFloat64Error, match="does not run in float64: float32 only"):
        float64_predict(served)
    grid = grid_of(served, tmp_path)
    assert grid.passed
    assert "float32 only" in grid.no_float64
    assert grid.as_json()["budget"][0]["reference"] == "float32"
    assert grid.as_json()["budget"][0]["torch_error"] is None


def test_a_recipe_may_set_a_tolerance_with_a_reason(tmp_path: Path) -> None:
    served = modules.served(modules.Affine())
    assert not grid_of(served, tmp_path, 1.001).passed
    own = replace(served, tolerance={"float32": Tolerance(0.1, 0.1, "logits that only an argmax reads")})
    grid = grid_of(own, tmp_path, 1.001)
    assert grid.passed
    assert grid.as_json()["tolerance_reasons"] == {"float32": "logits that only an argmax reads"}
    assert tolerances(own)["float32"] == (0.1, 0.1)
    assert tolerance(Tensor("y", "int64", ("batch",))) == (0.0, 0.0)


@pytest.mark.parametrize("values", [(0.1, 0.1, " "), (-1.0, 0.0, "why"), (float("inf"), 0.0, "why")])
def test_a_tolerance_without_reason_or_bound_is_refused(values: tuple[float, float, str]) -> None:
    with pytest.raises(ConchError):
        Tolerance(*values)


def test_a_reference_that_pytorch_is_far_from_excuses_nothing() -> None:
    errors = Errors(onnx=0.5, torch=0.5, scale=1.0)
    assert not errors.usable
    assert not errors.excuses(0.5, "float32")


def test_integers_are_as_exact_only_when_they_agree() -> None:
    reference = np.array([1, 2, 3])
    for got, right in ((reference, True), (reference + 1, False)):
        judged = judge(got, reference, reference, (0.0, 0.0), "int64")
        assert judged.right is right
        assert judged.errors.as_exact("int64") is right


def test_another_shape_is_wrong_and_has_no_errors() -> None:
    judged = judge(np.zeros((2, 3)), np.zeros((2, 4)), np.zeros((2, 4)), (1.0, 1.0), "float64")
    assert not judged.right
    assert np.isnan(judged.difference)
    assert np.isnan(judged.errors.onnx)
