"""Every network beyond the demo's five keeps contract 1, and trains at a small size into a checkpoint."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.digits_like import publish_judge
from tests.support.small_networks import READS, SMALL, small_network
from training.catalogue import DEMO, NETWORKS, family, find_recipe
from training.checkpoints.checkpoint import load_checkpoint
from training.loop.fit import train
from training.predict import torch_predict
from training.recipe import Recipe, Served
from training.recipes.control.taxi import TaxiTrainee

ROOT = Path(__file__).parents[3]


def test_every_network_has_a_small_form_and_a_family() -> None:
    assert set(SMALL) == set(NETWORKS)
    assert not set(NETWORKS) & set(DEMO)
    assert all(family(name) for name in NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_file_is_read_from_top_to_bottom(name: str) -> None:
    """A docstring with the command, and no more lines than one sitting takes."""
    text = find_recipe(name).source().read_text()
    assert f"    conch train {name}\n" in text.split('"""')[1]
    assert len(text.splitlines()) <= 300


def declared(served: Served, recipe: Recipe) -> str:
    """What a recipe says of a served model in `serves`, from the model itself."""
    states = {state.input for state in served.states}
    inputs = ", ".join(tensor.name for tensor in served.inputs if tensor.name not in states)
    named = "" if served.name == recipe.name() else f"{served.name}: "
    return f"{named}{inputs} -> {', '.join(tensor.name for tensor in served.answers)}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_it_trains_and_serves_what_it_says(name: str, artifacts: Path) -> None:
    if READS.get(name) == "cnn":
        publish_judge()
    elif name in READS:
        other = small_network(READS[name])
        train(other, other.dataset(), hold_floors=False)
    recipe = small_network(name)
    _, metrics = train(recipe, recipe.dataset(), hold_floors=False)
    assert all(np.isfinite(metric.value) for metric in metrics)
    assert set(recipe.floors[type(recipe).data]) <= {metric.name for metric in metrics}
    if (type(recipe).samples, type(recipe).picture) != (Recipe.samples, Recipe.picture):
        assert (artifacts / "checkpoints" / name / "samples.png").stat().st_size > 0
    checkpoint = load_checkpoint(name)
    for index, served in enumerate(recipe.served(checkpoint.trained, checkpoint.data)):
        assert declared(served, recipe) == recipe.serves[index]
        predict = torch_predict(served)
        inputs = {name: array[:5] for name, array in served.examples.items()}
        whole, alone = predict(inputs), predict({name: array[:1] for name, array in inputs.items()})
        for tensor in served.outputs:
            assert whole[tensor.name].dtype.name == tensor.dtype
            assert len(whole[tensor.name]) == 5
            off = 1 if tensor.dtype == "uint8" and "uint8" not in served.tolerance else 1e-4  # a rounded pixel
            np.testing.assert_allclose(whole[tensor.name][:1].astype(float), alone[tensor.name], rtol=1e-3, atol=off)
    assert len(recipe.serves) == index + 1


@pytest.mark.slow
def test_a_fleet_that_was_interrupted_goes_on_where_it_was(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no data set has to keep what it was doing: where each taxi is, and what was tried."""
    recipe = replace(small_network("taxi"), epochs=2)
    data = recipe.dataset()
    whole, _ = train(recipe, data, hold_floors=False)

    def break_off(trainee: TaxiTrainee) -> None:
        if trainee.current_epoch:
            raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(TaxiTrainee, "on_train_epoch_start", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            train(recipe, data, hold_floors=False)
    assert (artifacts / "checkpoints" / ".taxi.state").is_file()
    resumed, _ = train(recipe, data, hold_floors=False, resume=True)
    assert resumed.manifest["sha256"]["weights"] == whole.manifest["sha256"]["weights"]
