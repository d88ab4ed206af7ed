"""Each judge on tiny data and untrained networks: its figures against a second way to get them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tests.bench.training.headline import denoising, language
from tests.bench.training.headline.classification import judge_classifier
from tests.bench.training.headline.denoising import judge_denoiser
from tests.bench.training.headline.filters import contenders
from tests.bench.training.headline.generation import distances_to, judge_generator, nearest_training_images
from tests.bench.training.headline.judgement import Judgement, metric_named
from tests.bench.training.headline.language import judge_language, write
from tests.support.digits_like import publish_judge
from training.characters import CharacterTrainee, windows
from training.checkpoints.checkpoint import Checkpoint
from training.data.images import Images, digits
from training.data.text import tokenize
from training.recipe import Recipe
from training.recipes.autoencoder import Autoencoder, add_noise, psnr
from training.recipes.cnn import CNN
from training.recipes.gan import GAN
from training.recipes.lstm import LSTM

pytestmark = pytest.mark.slow

DIGITS = digits()
FEW = replace(DIGITS, train=DIGITS.train[:40], train_labels=DIGITS.train_labels[:40], held_out=DIGITS.held_out[:20],
              held_out_labels=DIGITS.held_out_labels[:20])  # fmt: skip


def untrained(recipe: Recipe, data: object) -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(recipe, data, recipe.trainee(data).eval(), {})


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A trained `cnn` for the tests that need one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(tmp_path_factory.mktemp("artifacts")))
        publish_judge()
        yield


def value(judgement: Judgement, name: str) -> float:
    return metric_named(name, judgement.metrics).value


def check_pictures(judgement: Judgement, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == set(judgement.pictures)
    for name in judgement.pictures:
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100


def test_a_classifier(tmp_path: Path) -> None:
    checkpoint = untrained(CNN(), FEW)
    judgement = judge_classifier(checkpoint, tmp_path)
    with torch.inference_mode():
        answers = CNN().served(checkpoint.trained, FEW)[0].module(torch.from_numpy(FEW.held_out)).argmax(1).numpy()  # type: ignore[arg-type]
    assert value(judgement, "accuracy") == pytest.approx((answers == FEW.held_out_labels).mean() * 100)
    check_pictures(judgement, tmp_path)
    (table,) = judgement.tables
    assert int(table.rows[0][2]) >= int(table.rows[-1][2]) > 0


def test_a_classifier_without_errors_shows_none(tmp_path: Path) -> None:
    checkpoint = untrained(CNN(), FEW)
    predict = CNN().served(checkpoint.trained, FEW)[0].module  # type: ignore[arg-type]
    with torch.inference_mode():
        answers = predict(torch.from_numpy(FEW.held_out)).argmax(1).numpy()
    right = replace(FEW, held_out_labels=answers)
    judgement = judge_classifier(replace(checkpoint, data=right), tmp_path)
    assert value(judgement, "accuracy") == 100
    assert (judgement.tables, judgement.pictures) == ((), {})


def test_a_denoiser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [replace(one, grid={name: values[1:2] for name, values in one.grid.items()}) for one in contenders(0.5)]
    monkeypatch.setattr(denoising, "contenders", lambda sigma: few)
    judgement = judge_denoiser(untrained(Autoencoder(sigma=0.5), FEW), tmp_path)
    (table,) = judgement.tables
    shown = {(row[0], bool(row[2])): float(row[-1].strip("*")) for row in table.rows}
    assert shown["noisy", False] == pytest.approx(psnr(add_noise(FEW.held_out, 0.5), FEW.held_out), abs=0.01)
    filters = [dB for (name, _), dB in shown.items() if name in ("Gaussian", "median", "non-local means")]
    assert len(filters) == 6
    assert value(judgement, "PSNR of the best filter") == pytest.approx(max(filters), abs=0.01)
    gain = value(judgement, "PSNR") - value(judgement, "PSNR of the best filter")
    assert value(judgement, "PSNR above the best filter") == pytest.approx(gain)
    assert value(judgement, "PSNR above the best filter without correction") > gain
    assert gain < 0  # it was never trained
    check_pictures(judgement, tmp_path)


def test_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "WRITTEN", 40)
    text = tokenize("abc", "abcab\n" * 1200)
    checkpoint = untrained(LSTM(width=8), text)
    judgement = judge_language(checkpoint, tmp_path)
    trained = checkpoint.trained
    assert isinstance(trained, CharacterTrainee)
    pieces = torch.from_numpy(windows(text.held_out, 256))
    with torch.inference_mode():
        nats = functional.cross_entropy(trained.network(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())
    assert value(judgement, "nats per character") == pytest.approx(float(nats), abs=1e-5)
    assert value(judgement, "bits per character") == pytest.approx(float(nats) / math.log(2), abs=1e-5)
    assert not metric_named("nats per character", judgement.metrics).higher_is_better
    assert [row[0] for row in judgement.tables[0].rows] == ["64", "256"]  # 720 characters hold no window of 1,024
    assert len(judgement.text) == 40
    assert set(judgement.text) <= set("abc\n")


def test_what_is_written_follows_the_probabilities() -> None:
    text = tokenize("abc", "abc" * 100)
    following = np.eye(3, dtype=np.float32)[[1, 2, 0]]
    assert write(lambda inputs: {"probabilities": following[inputs["tokens"]]}, text, 6) == "bcabca"


def test_a_generator(tmp_path: Path, judge_folder: None) -> None:
    checkpoint = untrained(GAN(), DIGITS)
    judgement = judge_generator(checkpoint, tmp_path, count=50)
    classes, distances, copies = judgement.tables
    shares = [float(share) for share in classes.rows[0][1:]]
    assert sum(shares) == pytest.approx(100)
    assert value(judgement, "rarest class") == min(shares)
    assert value(judgement, "commonest class") == max(shares)
    assert 0.1 <= value(judgement, "mean top probability") <= 1
    of_samples, of_halves = (float(row[2]) for row in distances.rows[:2])
    assert of_samples > 10 * of_halves  # noise is no digit
    assert "two sets of 50 images" in judgement.how
    assert [row[1] for row in copies.rows] == ["50", str(len(DIGITS.held_out))]
    check_pictures(judgement, tmp_path)


def test_a_copy_is_found() -> None:
    data: Images = FEW
    copies = nearest_training_images(data.train[[7, 3]], data)
    assert copies.nearest[:, 0].tolist() == [7, 3]
    assert copies.nearest.shape == (2, 3)
    assert np.allclose(copies.of_samples, 0, atol=1e-2)
    assert copies.of_held_out.min() > 1
    rows = copies.rows(data.train[[7, 3]], data.train)
    assert np.array_equal(rows["sample"], rows["nearest"])


def test_distances_are_of_pixels_in_unit_range() -> None:
    black, white = np.zeros((1, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 255, np.uint8)
    assert distances_to(np.concatenate([black, white]), black).tolist() == [[0.0, 2.0]]
