"""Each of the five recipes of the demo keeps contract 1, before anything is trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conch.contracts.errors import ConchError
from tests.support.digits_like import publish_judge
from training.catalogue import DEMO, find_recipe
from training.characters import windows
from training.predict import in_batches, torch_predict
from training.recipe import Metric, Recipe, Served, accepted
from training.recipes.autoencoder import add_noise, psnr
from training.recipes.cnn import LeNet5
from training.recipes.gan import GAN
from training.recipes.resnet import ResNet, ResNetRecipe

pytestmark = pytest.mark.slow


@pytest.fixture(params=DEMO)
def recipe(request: pytest.FixtureRequest, artifacts: object) -> Recipe:
    if request.param == "gan":
        publish_judge()
    return find_recipe(request.param)()


def served_of(recipe: Recipe) -> Served:
    data = recipe.dataset()
    return recipe.served(recipe.trainee(data), data)[0]


def test_what_is_served_is_what_is_declared(recipe: Recipe) -> None:
    served = served_of(recipe)
    predict = torch_predict(served)
    for rows in (1, 3):
        outputs = predict({name: array[:rows] for name, array in served.examples.items()})
        for tensor in served.outputs:
            got = outputs[tensor.name]
            assert got.dtype.name == tensor.dtype
            wanted = [rows if size == "batch" else served.sizes[size][-1] if isinstance(size, str) else size
                      for size in tensor.shape]  # fmt: skip
            assert list(got.shape) == wanted
    for tensor in served.inputs:
        assert served.examples[tensor.name].dtype.name == tensor.dtype
        assert len(served.examples[tensor.name]) >= served.largest_batch


def test_served_modules_are_in_eval_mode(recipe: Recipe) -> None:
    assert not any(module.training for module in served_of(recipe).module.modules())


def test_score_gives_finite_metrics_that_the_floors_name(recipe: Recipe) -> None:
    data = recipe.dataset()
    served = served_of(recipe)
    metrics = recipe.score(torch_predict(served), data)
    assert all(np.isfinite(metric.value) for metric in metrics)
    assert set(recipe.floors[recipe.data]) <= {metric.name for metric in metrics}


def test_lenet_has_the_maps_of_the_paper() -> None:
    widths = []
    x = torch.zeros(1, 1, 28, 28)
    for layer in LeNet5(28, 1, 10).features:
        x = layer(x)
        widths.append(x.shape[-1])
    assert list(dict.fromkeys(widths)) == [28, 14, 10, 5]


@pytest.mark.parametrize("depth", [20, 32])
def test_a_resnet_has_as_many_weight_layers_as_its_depth_and_none_in_its_skips(depth: int) -> None:
    network = ResNet(1, 10, depth)
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [2, 21])
def test_a_depth_that_is_no_resnet_is_refused(depth: int) -> None:
    with pytest.raises(ConchError, match="6n\\+2"):
        ResNetRecipe(depth=depth)


def test_settings_nothing_can_be_trained_with_are_refused() -> None:
    with pytest.raises(ConchError, match="--epochs 0"):
        find_recipe("cnn")(epochs=0)


def test_windows_predict_each_character_once() -> None:
    pieces = windows(np.arange(10), 3)
    assert pieces.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_psnr_of_known_noise() -> None:
    clean = np.zeros((1, 10, 10, 1), np.uint8)
    assert psnr(clean + np.uint8(51), clean) == pytest.approx(20 * np.log10(5))
    noisy = add_noise(np.full((100, 28, 28, 1), 128, np.uint8), 0.1)
    assert psnr(noisy, np.full_like(noisy, 128)) == pytest.approx(20, abs=0.1)


def test_in_batches_joins_what_it_split() -> None:
    sizes = []

    def predict(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}

    x = np.arange(7)
    assert (in_batches(predict, 3)({"x": x})["y"] == x * 2).all()  # type: ignore[arg-type]
    assert sizes == [3, 3, 1]


def test_floors_hold_in_the_metric_s_own_direction() -> None:
    metrics = [Metric("accuracy", 97.0, "%"), Metric("bits", 2.0, higher_is_better=False), Metric("odd", float("nan"))]
    assert accepted(metrics, {"accuracy": 97.0, "bits": 2.0}) == []
    assert len(accepted(metrics, {"accuracy": 98.0, "bits": 1.9, "odd": 0})) == 3


@pytest.mark.parametrize("name", DEMO)
def test_defaults_by_data_set_are_settings_of_the_recipe(name: str) -> None:
    recipe_class = find_recipe(name)
    assert recipe_class.for_data() == recipe_class()
    for data, fields in recipe_class.suited.items():
        suited = recipe_class.for_data(data).settings()
        assert suited == recipe_class().settings() | {"data": data} | dict(fields)


@pytest.mark.usefixtures("artifacts")
def test_a_judge_that_knows_other_images_is_refused(tmp_path: Path) -> None:
    publish_judge()
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(5):
            Image.new("L", (28, 28), index).save(tmp_path / "images" / label / f"{index}.png")
    with pytest.raises(ConchError, match=r"--judge cnn: it learnt from digits.*conch train cnn --data"):
        GAN(data=str(tmp_path / "images")).dataset()
