"""States that come back wrong are caught though every single run is right, and then nothing is published."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from conch.contracts.golden import read_sequences
from export.conversion.convert import EXPORTERS
from export.proof.chain import prove_chain
from export.proof.parity import parity_grid
from export.proof.prove import convert_and_compare
from export.proof.runtime import onnx_predict
from export.publication.pipeline import ProofFailed, export_checkpoint
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe
from training.characters import CharacterEndpoint, CharacterNetwork, CharacterStream
from training.checkpoints.checkpoint import Checkpoint
from training.predict import torch_predict
from training.recipe import Metric, Served, Tensor
from training.states import Chain, State

pytestmark = pytest.mark.slow

VOCABULARY, WIDTH, LAYERS, STEPS = 5, 6, 2, 12


class Swapped(CharacterStream):
    """Gives c where h belongs and h where c belongs: each run is a right one, of the wrong states."""

    def forward(self, token: torch.Tensor, *states: torch.Tensor) -> Any:
        probabilities, c, h = super().forward(token, *states)
        return probabilities, h, c


def stream(kind: type[CharacterStream] = CharacterStream) -> Served:
    """A small stream and the network as a whole, with random weights."""
    torch.manual_seed(0)
    network = CharacterNetwork(torch.nn.LSTM, VOCABULARY, WIDTH, LAYERS)
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, VOCABULARY, (4, STEPS, 1))
    whole = Served(
        name="whole",
        module=CharacterEndpoint(network).eval(),
        inputs=(Tensor("tokens", "int64", ("batch", "time"), high=VOCABULARY - 1),),
        outputs=(Tensor("probabilities", "float32", ("batch", "time", VOCABULARY)),),
        examples={"tokens": tokens[:, :, 0]},
    )

    def all_at_once(steps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return torch_predict(whole)({"tokens": steps["token"][:, :, 0]})

    state = ("batch", LAYERS, WIDTH)
    rows = (8, LAYERS, WIDTH)
    return Served(
        name="stream",
        module=kind(network).eval(),
        inputs=(
            Tensor("token", "int64", ("batch", 1), high=VOCABULARY - 1),
            Tensor("c_in", "float32", state, low=-1, high=1),
            Tensor("h_in", "float32", state, low=-1, high=1),
        ),
        outputs=(
            Tensor("probabilities", "float32", ("batch", VOCABULARY)),
            Tensor("c_out", "float32", state),
            Tensor("h_out", "float32", state),
        ),
        examples={
            "token": draw.integers(0, VOCABULARY, (8, 1)),
            "c_in": draw.standard_normal(rows, np.float32),
            "h_in": draw.uniform(-1, 1, rows).astype(np.float32),
        },
        largest_batch=8,
        states=(State("c_in", "c_out"), State("h_in", "h_out")),
        chain=Chain(
            {"token": tokens}, all_at_once, lambda answers: [Metric("sum", float(answers["probabilities"].sum()))]
        ),
    )


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_chain_of_steps_equals_the_whole(exporter: Any, tmp_path: Path) -> None:
    proof = convert_and_compare(stream(), tmp_path / "model.onnx", exporter)
    assert proof.failures == ()
    assert proof.chain is not None
    assert (proof.chain.sequences, proof.chain.steps) == (4, STEPS)
    assert proof.chain.differences["probabilities"] < 1e-6
    assert proof.as_json()["chain"]["passed"]


def test_swapped_states_pass_the_grid_and_fail_the_chain(tmp_path: Path) -> None:
    proof = convert_and_compare(stream(Swapped), tmp_path / "model.onnx", "dynamo")
    assert proof.grid is not None
    assert proof.grid.passed
    (failure,) = proof.failures
    assert failure.startswith(f"output 'probabilities' of {STEPS} steps from zero states differs by ")
    assert int(failure.rsplit(" ", 1)[1]) <= 2
    assert not proof.as_json()["chain"]["passed"]


def test_swapped_outputs_of_a_right_file_fail_the_grid(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    served = stream()
    convert_and_compare(served, path, "dynamo")
    model = onnx.load(path)
    other = {"c_out": "h_out", "h_out": "c_out"}
    for node in model.graph.node:
        node.output[:] = [other.get(name, name) for name in node.output]
    onnx.save(model, path)
    assert not parity_grid(served, path).passed
    assert prove_chain(served, onnx_predict(path)).failures


def test_states_that_are_not_handed_on_fail(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    served = stream()
    convert_and_compare(served, path, "dynamo")
    right = onnx_predict(path)

    def forgetful(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return right({name: np.zeros_like(array) if name == "c_in" else array for name, array in inputs.items()})

    assert "first at step" in prove_chain(served, forgetful).failures[0]


@pytest.fixture
def checkpoint(tmp_path: Path, artifacts: Path) -> Checkpoint:
    return train_recipe(write_line_recipe(tmp_path))


def test_nothing_is_published_if_one_of_two_fails(
    checkpoint: Checkpoint, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)
    kind = type(checkpoint.recipe)
    monkeypatch.setattr(kind, "served", lambda *_: [line, stream(Swapped)])
    with pytest.raises(ProofFailed, match=r"stream: nothing was published, .* from zero states differs"):
        export_checkpoint(checkpoint)
    assert not (artifacts / "models").exists()
    monkeypatch.setattr(kind, "served", lambda *_: [line, stream()])
    for version in ("1", "2"):
        first, second = export_checkpoint(checkpoint)
        assert (first.version.name, second.version.name) == (version, version)
    manifest = json.loads((second.version / "manifest.json").read_text())
    assert manifest["states"] == {"c_in": "c_out", "h_in": "h_out"}
    assert manifest["score"]["weights"][0]["name"] == "sum"
    assert json.loads((second.version / "parity.json").read_text())["chain"]["steps"] == STEPS
    # The second version has the tensors of the first, so both are served.
    assert "num_versions: 2" in (second.version.parent / "config.pbtxt").read_text()
    with np.load(second.version / "golden.npz") as golden:
        assert {"inputs/c_in", "outputs/h_out", "inputs/token"} <= set(golden.files)
    asked, answered = read_sequences(second.version)
    assert (asked["token"].shape, answered["probabilities"].shape) == ((4, STEPS, 1), (4, STEPS, VOCABULARY))


def test_a_score_of_the_chain_that_differs_fails(
    checkpoint: Checkpoint, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter(range(100))
    served = stream()
    assert served.chain is not None
    odd = replace(served, chain=replace(served.chain, score=lambda _: [Metric("odd", float(next(scores)))]))
    monkeypatch.setattr(type(checkpoint.recipe), "served", lambda *_: [odd])
    with pytest.raises(ProofFailed, match="odd of the ONNX file is"):
        export_checkpoint(checkpoint)
    assert not (artifacts / "models").exists()
