"""From a checkpoint to a published version, or to nothing."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from conch.contracts.comparison import TOLERANCES
from export.conversion.convert import ExportError
from export.proof.prove import score_failures
from export.publication.pipeline import ProofFailed, export_checkpoint
from export.publication.up_to_date import is_up_to_date
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe
from training.checkpoints.checkpoint import load_checkpoint
from training.data.augmentation import to_unit_range
from training.loop.fit import train
from training.recipe import Metric
from training.recipes.cnn import CNN

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe_file(tmp_path: Path, artifacts: Path) -> Path:
    path = write_line_recipe(tmp_path)
    train_recipe(path)
    return path


def test_a_version_carries_its_proof(recipe_file: Path, artifacts: Path) -> None:
    (exported,) = export_checkpoint(load_checkpoint(str(recipe_file)))
    assert exported.version == artifacts / "models" / "line" / "1"
    manifest = json.loads((exported.version / "manifest.json").read_text())
    assert manifest["score"]["weights"] == manifest["score"]["onnx"]
    assert manifest["sha256"]["weights"] == load_checkpoint(str(recipe_file)).manifest["sha256"]["weights"]
    assert manifest["exporter"] == "dynamo"
    assert manifest["tolerance"].keys() == TOLERANCES.keys()
    parity = json.loads((exported.version / "parity.json").read_text())
    assert parity["passed"]
    assert len(parity["cells"]) == 15
    with np.load(exported.version / "golden.npz") as golden:
        np.testing.assert_allclose(golden["outputs/y"], 2 * golden["inputs/x"] + 1, atol=0.01)
    onnx.checker.check_model(exported.version / "model.onnx")


def test_a_second_export_is_the_next_version(recipe_file: Path) -> None:
    checkpoint = load_checkpoint(str(recipe_file))
    assert [export_checkpoint(checkpoint)[0].version.name for _ in range(2)] == ["1", "2"]


def test_up_to_date_until_a_file_or_the_choice_of_exporter_changes(recipe_file: Path, artifacts: Path) -> None:
    repository = artifacts / "models"
    checkpoint = load_checkpoint(str(recipe_file))
    assert not is_up_to_date(checkpoint, repository, None)
    export_checkpoint(checkpoint)
    assert is_up_to_date(checkpoint, repository, None)
    assert not is_up_to_date(checkpoint, repository, "torchscript")
    model = repository / "line" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    assert not is_up_to_date(checkpoint, repository, None)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("module=trained.network.eval()", "module=trained.network.train()", "is in training mode"),
        ('("batch", 1)),)', '("batch", 2)),)', "has shape"),
        ('return [Metric("error"', 'return [] and [Metric("error"', "score is missing"),
        ("float(error), higher", 'float("nan"), higher', "is no number"),
        ("float(error), higher", "float(np.random.rand()), higher", "of the ONNX file is"),
    ],
)
def test_what_fails_its_proof_is_not_published(
    recipe_file: Path, artifacts: Path, old: str, new: str, reason: str
) -> None:
    write_line_recipe(recipe_file.parent, (old, new))
    with pytest.raises((ProofFailed, ExportError), match=reason):
        export_checkpoint(load_checkpoint(str(recipe_file)))
    assert not (artifacts / "models").exists()


BESIDES = """            ),
            Served(
                name="line_twice",
                module=nn.Sequential(trained.network, nn.Hardtanh(-9, 9)).eval(),
                inputs=(Tensor("x", "float32", ("batch", 1), low=-1, high=1),),
                outputs=(Tensor("y", "float32", ("batch", 1)),),
                examples={"x": data.x},
                score=lambda predict: [Metric("mean", float(predict({"x": data.x})["y"].mean()))],
            )
        ]
"""


def test_what_a_recipe_serves_besides_is_judged_by_a_score_of_its_own(recipe_file: Path, artifacts: Path) -> None:
    besides = ("            )\n        ]\n", BESIDES)
    write_line_recipe(recipe_file.parent, besides)
    first, other = export_checkpoint(load_checkpoint(str(recipe_file)), "torchscript")
    assert first.proof.onnx_score[0].name == "error"
    manifest = json.loads((other.version / "manifest.json").read_text())
    assert manifest["score"]["weights"][0]["name"] == manifest["score"]["onnx"][0]["name"] == "mean"
    write_line_recipe(recipe_file.parent, besides, (".mean()))", ".mean() + np.random.rand()))"))
    with pytest.raises(ProofFailed, match="mean of the ONNX file is"):
        export_checkpoint(load_checkpoint(str(recipe_file)), "torchscript")
    assert not (artifacts / "models" / "line" / "2").exists(), "all or none"


def test_scores_are_compared_to_four_decimals() -> None:
    one = (Metric("accuracy", 99.12340, "%"),)
    assert list(score_failures(one, (Metric("accuracy", 99.12341, "%"),))) == []
    assert "99.1235" in next(score_failures(one, (Metric("accuracy", 99.1235, "%"),)))


@pytest.mark.usefixtures("artifacts")
@pytest.mark.slow
def test_averaging_over_views_is_in_the_graph() -> None:
    recipe = CNN(epochs=1, views="mirrored-crops")
    data = recipe.dataset()
    train(recipe, data, hold_floors=False)
    (exported,) = export_checkpoint(load_checkpoint("cnn"))
    images = data.held_out[:3]
    crops = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")
    by_hand = [images, *(crops[:, top:, left:][:, :28, :28] for top in (0, 4) for left in (0, 4))]
    network = load_checkpoint("cnn").trained.get_submodule("network")
    with torch.inference_mode():
        answers = [
            torch.softmax(network(to_unit_range(torch.from_numpy(np.ascontiguousarray(view)))), dim=1)
            for view in (*by_hand, *(view[:, :, ::-1] for view in by_hand))
        ]
    session = onnxruntime.InferenceSession(exported.version / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"image": images})[0], torch.stack(answers).mean(0).numpy(), atol=1e-5)
