"""With both exporters, modules that are known to break come out right or are refused with a reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.conversion import convert as conversion
from export.conversion.convert import EXPORTERS, Exporter
from export.proof.budget import WRONG
from export.proof.parity import parity_grid
from export.proof.prove import Proof, convert_and_compare
from export.proof.runtime import onnx_predict
from tests.support import breaking, modules
from training.predict import torch_predict
from training.recipe import Served, Tensor

pytestmark = pytest.mark.parametrize("exporter", EXPORTERS)


def prove(served: Served, folder: Path, exporter: Exporter) -> Proof:
    return convert_and_compare(served, folder / "model.onnx", exporter)


def assert_right(proof: Proof) -> None:
    assert proof.failures == ()
    assert proof.grid is not None
    assert proof.grid.passed


@pytest.mark.parametrize("example", [1, 128])
@pytest.mark.slow
def test_an_example_batch_does_not_freeze_the_batch(
    tmp_path: Path, exporter: Exporter, example: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "EXAMPLE_BATCH", example)
    served = breaking.served(modules.Affine(), largest_batch=160)
    proof = prove(served, tmp_path, exporter)
    assert_right(proof)
    five = {"x": served.examples["x"][:5]}
    np.testing.assert_allclose(
        onnx_predict(tmp_path / "model.onnx")(five)["y"], torch_predict(served)(five)["y"], atol=1e-6
    )


@pytest.mark.slow
def test_a_bidirectional_lstm_takes_other_lengths_and_batches(tmp_path: Path, exporter: Exporter) -> None:
    proof = prove(breaking.both_ways(), tmp_path, exporter)
    assert_right(proof)
    assert proof.grid is not None
    assert {(cell.batch, cell.sizes["time"]) for cell in proof.grid.cells} >= {
        (batch, time) for batch in (1, 4) for time in (8, 9, 31)
    }


def test_states_keep_their_order_whatever_their_names(tmp_path: Path, exporter: Exporter) -> None:
    assert_right(prove(breaking.two_states(), tmp_path, exporter))


def test_swapped_states_fail(tmp_path: Path, exporter: Exporter) -> None:
    served = breaking.two_states()
    prove(served, tmp_path, exporter)
    model = onnx.load(tmp_path / "model.onnx")
    swapped = {"z_hidden": "c_cell", "c_cell": "z_hidden"}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [swapped.get(name, name) for name in names]
    onnx.save(model, tmp_path / "model.onnx")
    grid = parity_grid(served, tmp_path / "model.onnx")
    assert grid.signature == ()
    assert {entry.verdict for entry in grid.budget} == {WRONG}


def test_active_dropout_is_refused(tmp_path: Path, exporter: Exporter) -> None:
    proof = prove(breaking.served(breaking.Drops()), tmp_path, exporter)
    assert proof.failures


def test_batch_norm_in_training_mode_is_refused(tmp_path: Path, exporter: Exporter) -> None:
    served = breaking.served(modules.LeftInTraining())
    served.module.norm.train()  # type: ignore[union-attr]
    proof = prove(served, tmp_path, exporter)
    assert "norm (BatchNorm1d) is in training mode" in proof.failures[0]


def test_a_dropout_layer_in_training_mode_is_refused(tmp_path: Path, exporter: Exporter) -> None:
    served = breaking.served(modules.Affine())
    served.module.add_module("dropout", breaking.nn.Dropout())
    proof = prove(served, tmp_path, exporter)
    assert "dropout (Dropout) is in training mode" in proof.failures[0]


def test_a_python_branch_on_a_value_is_refused(tmp_path: Path, exporter: Exporter) -> None:
    proof = prove(breaking.served(breaking.Branches(), ("batch", 4)), tmp_path, exporter)
    assert proof.failures
    if proof.grid is not None:  # traced: the example's side was kept, and inputs that take the other side tell
        assert any(cell.inputs in ("low", "high") and not cell.passed for cell in proof.grid.cells)


def test_an_output_that_is_a_view_of_the_input(tmp_path: Path, exporter: Exporter) -> None:
    assert_right(prove(breaking.served(breaking.View(), ("batch", 2, 2)), tmp_path, exporter))


def test_an_output_that_is_the_input(tmp_path: Path, exporter: Exporter) -> None:
    served = replace(
        breaking.served(breaking.Same()),
        outputs=tuple(Tensor(name, "float32", ("batch", 4)) for name in ("same", "more")),
    )
    assert_right(prove(served, tmp_path, exporter))
