"""Where PyTorch has no single answer nothing is judged; where it has one, nothing is excused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.conversion.convert import convert
from export.proof.cells import Grid
from export.proof.parity import parity_grid
from training.recipe import Served, Tensor

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(0).standard_normal((40, 6), np.float32)


def served(module: nn.Module, outputs: tuple[Tensor, ...], examples: np.ndarray = ROWS, **changes: object) -> Served:
    integers = examples.dtype.kind == "i"
    given = Tensor("x", examples.dtype.name, ("batch", 6), low=0 if integers else -3, high=9 if integers else 3)
    return Served("toy", module.eval(), (given,), outputs, {"x": examples}, largest_batch=8, **changes)  # type: ignore[arg-type]


def grid_of(subject: Served, folder: Path, predict: object = None) -> Grid:
    path = folder / "model.onnx"
    convert(subject, path, "dynamo")
    return parity_grid(subject, path, predict)  # type: ignore[arg-type]


class Scores(nn.Module):
    """The order of scores, best first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.layer(x).softmax(-1)
        best = scores.topk(3, dim=-1)
        return best.values, best.indices


class Order(nn.Module):
    """Of the inputs themselves, which may be equal."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.argsort(x, dim=-1, descending=True)


INDICES = Tensor("order", "int64", ("batch", 6))


def test_ties_of_made_up_inputs_are_told_apart_and_the_rest_is_judged(tmp_path: Path) -> None:
    grid = grid_of(served(Order(), (INDICES,)), tmp_path)
    assert grid.failures == []
    apart = {cell.inputs for cell in grid.cells if cell.ambiguous}
    assert apart <= {"low", "high"}
    assert all(cell.ambiguous == 0 and cell.elements for cell in grid.cells if cell.inputs == "real")


def test_ties_among_real_inputs_are_told_apart_element_by_element(tmp_path: Path) -> None:
    tied = np.random.default_rng(1).integers(0, 4, (40, 6))  # six numbers of four: ties in every row

    def sorted_from_the_other_end(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        last_first = inputs["x"][:, ::-1]
        return {"order": 5 - np.argsort(-last_first, axis=-1, kind="stable")}

    subject = served(Order(), (INDICES,), tied)
    grid = grid_of(subject, tmp_path, sorted_from_the_other_end)
    assert grid.failures == []
    cells = [cell for cell in grid.cells if cell.inputs == "real" and cell.batch == 8]
    assert all(0 < cell.ambiguous < cell.elements for cell in cells)
    assert "values have no single answer in PyTorch" in grid.left_out()[-1]


def test_a_wrong_order_is_no_tie(tmp_path: Path) -> None:
    def ascending(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"order": np.argsort(inputs["x"], axis=-1, kind="stable")}

    grid = grid_of(served(Order(), (INDICES,)), tmp_path, ascending)
    assert not grid.passed
    assert all(not cell.passed for cell in grid.cells if cell.inputs == "real")


def test_a_stable_sort_has_a_single_answer(tmp_path: Path) -> None:
    class Stable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sort(x, dim=-1, stable=True).indices

    def unstable(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"order": 5 - np.argsort(inputs["x"][:, ::-1], axis=-1, kind="stable")}

    zeros = np.zeros((40, 6), np.int64)
    convert(served(Order(), (INDICES,), zeros), tmp_path / "model.onnx", "dynamo")  # no exporter knows a stable sort
    grid = parity_grid(served(Stable(), (INDICES,), zeros), tmp_path / "model.onnx", unstable)
    assert not grid.passed
    assert not any(cell.ambiguous for cell in grid.cells)


def test_scores_that_rounding_alone_tells_apart_are_ties(tmp_path: Path) -> None:
    class Copies(Scores):
        """The scores of equal features differ by how they are summed, if at all."""

        def __init__(self) -> None:
            super().__init__()
            with torch.no_grad():
                self.layer.weight[1] = self.layer.weight[0] * (1 + 2**-23)
                self.layer.bias[1] = self.layer.bias[0]

    values, indices = Tensor("best", "float32", ("batch", 3)), Tensor("order", "int64", ("batch", 3))
    subject = served(Copies(), (values, indices))
    own = convert_predict(subject, tmp_path)

    def swapped(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answer = own(inputs)
        order = answer["order"]
        return {"best": answer["best"], "order": np.where(order == 0, 1, np.where(order == 1, 0, order))}

    grid = parity_grid(subject, tmp_path / "model.onnx", swapped)
    assert grid.failures == []
    assert any(cell.ambiguous for cell in grid.cells if cell.inputs == "real")
    assert all(cell.ambiguous == 0 for cell in grid.cells if cell.output == "best")


def convert_predict(subject: Served, folder: Path):  # type: ignore[no-untyped-def]
    from export.proof.runtime import onnx_predict

    convert(subject, folder / "model.onnx", "dynamo")
    return onnx_predict(folder / "model.onnx")


def test_what_pytorch_refuses_is_no_cell(tmp_path: Path) -> None:
    class Inverse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.compiler.is_exporting() and float(x.abs().sum()) == 0:
                raise ValueError("nothing to normalise")
            return x / x.abs().sum(-1, keepdim=True)

    subject = served(Inverse(), (Tensor("y", "float32", ("batch", 6)),))
    grid = grid_of(replace(subject, inputs=(replace(subject.inputs[0], low=0),)), tmp_path)
    assert grid.failures == []
    assert {cell.inputs for cell in grid.cells} == {"real", "high"}
    assert grid.refused[-1] == "batch 1, low inputs: PyTorch refuses them (ValueError: nothing to normalise)"
    assert grid.as_json()["refused"] == list(grid.refused)


def test_what_no_example_proves_is_refused(tmp_path: Path) -> None:
    grid = grid_of(served(Order(), (INDICES,), np.zeros((40, 6), np.int64)), tmp_path, lambda x: {"order": x["x"]})
    assert not grid.passed
    subject = served(Order(), (INDICES,), np.zeros((40, 6), np.int64))
    backwards = {"order": np.tile(np.arange(6)[::-1], (8, 1))}
    grid = parity_grid(subject, tmp_path / "model.onnx", lambda x: {"order": backwards["order"][: len(x["x"])]})
    assert grid.failures[0].startswith("output 'order' is not proven: no run on real or random inputs has a single")


def test_attention_over_nothing_is_told_apart_on_made_up_inputs_only(tmp_path: Path) -> None:
    class Attends(nn.Module):
        """Zeros are padding."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            keys = x[:, None, :, None].float()
            seen = (x != 0)[:, None, None]
            return nn.functional.scaled_dot_product_attention(keys, keys, keys, attn_mask=seen)[:, 0, :, 0]

    tokens = np.random.default_rng(2).integers(1, 9, (40, 6))
    outputs = (Tensor("y", "float32", ("batch", 6)),)

    def nan_for_nothing(right):  # type: ignore[no-untyped-def]
        def predict(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            nothing = (inputs["x"] == 0).all(-1)
            return {"y": np.where(nothing[:, None], np.float32(np.nan), right(inputs)["y"])}

        return predict

    subject = served(Attends(), outputs, tokens)
    right = convert_predict(subject, tmp_path)
    grid = parity_grid(subject, tmp_path / "model.onnx", nan_for_nothing(right))
    assert grid.failures == []
    # Somebody really asks that: then PyTorch's answer counts.
    asked = np.concatenate([np.zeros((1, 6), np.int64), tokens])
    grid = parity_grid(replace(subject, examples={"x": asked}), tmp_path / "model.onnx", nan_for_nothing(right))
    assert not grid.passed
    random = replace(subject, examples={"x": asked}, real_examples=0)
    assert parity_grid(random, tmp_path / "model.onnx", nan_for_nothing(right)).passed


@pytest.mark.parametrize("place", ["random", "half"])
def test_random_numbers_are_no_ambiguity(tmp_path: Path, place: str) -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (torch.rand_like(x) if place == "random" else nn.functional.dropout(x, 0.1, training=True))

    subject = served(Noisy(), (Tensor("y", "float32", ("batch", 6)),))
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "x"], ["y"])], "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 6])],
    ), opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)  # fmt: skip
    assert not parity_grid(subject, path).passed
