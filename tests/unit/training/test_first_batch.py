"""What does not fit is said before the first epoch, in one line, and trying it changes nothing of the run."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from conch.contracts.errors import ConchError
from tests.support.digits_like import publish_judge
from tests.support.recipes import write_line_recipe
from tests.support.shapes import write_classifier, write_shapes
from training.catalogue import DEMO, find_recipe
from training.commands.train import main
from training.loop.first_batch import ROWS, try_first_batch
from training.loop.fit import train
from training.recipe import Recipe

HELD_OUT = ("seed=self.seed), None", "seed=self.seed), batches(data.x[48:, :, None], data.y[48:], size=8)")
VALIDATION = (
    "    def configure_optimizers",
    "    def validation_step(self, batch: Any, _: int) -> None:\n        self.network(batch[0][..., 0, :0])\n\n"
    "    def configure_optimizers",
)
SQUARES = "(self.network(x) - y).square().mean()"
SCORE = "        error = np.abs("


def tried(path: Path) -> None:
    recipe: Recipe = find_recipe(str(path))()
    try_first_batch(recipe, recipe.dataset(), floors=recipe.floors.get(recipe.data))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            [("nn.Linear(1, 1)", "nn.Linear(2, 1)")],
            r"line: a training step fails on a batch of float32 \[8, 1\], float32 \[8, 1\]: RuntimeError in "
            r"line 3\d of line.py: mat1 and mat2 shapes cannot be multiplied \(8x1 and 2x1\); "
            r"nothing was trained \(--no-trial trains all the same",
        ),
        ([(SQUARES, "nn.functional.nll_loss(self.network(x), y)")], "a training step fails on a batch.*RuntimeError"),
        (
            [(").square().mean()", ").square()")],
            "a training step fails.*self.log.* was called, but the tensor must have a single element",
        ),
        (
            [(SQUARES, "nn.functional.mse_loss(self.network(x), y[:, 0])")],
            "a training step fails.*Using a target size",
        ),
        (
            [HELD_OUT, VALIDATION],
            r"line: validation fails on a held-out batch of float32 \[8, 1, 1\], float32 \[8, 1\]: RuntimeError",
        ),
        ([("return torch.optim.SGD", "return torch.optim.SGDX")], "its training cannot begin: AttributeError in line"),
        ([("return Trainee(", "return Trainee(1, ")], "its network cannot be made: TypeError in line"),
        (
            [('Tensor("y", "float32"', 'Tensor("y", "float64"')],
            r"line: the answer of line to 8 items is float32 \[8, 1\] as 'y', declared is float64 \[batch, 1\]",
        ),
        (
            [('Tensor("y", "float32", ("batch", 1))', 'Tensor("y", "float32", ("batch",))')],
            r"is float32 \[8, 1\] as 'y', declared is float32 \[batch\]",
        ),
        (
            [('Tensor("x", "float32", ("batch", 1)', 'Tensor("x", "float32", ("batch", 2)')],
            r"the examples of line are float32 \[8, 1\] as 'x', declared is float32 \[batch, 2\]",
        ),
        ([('examples={"x"', 'examples={"z"')], "line has no examples of x; it has some of z"),
        (
            [("outputs=(", 'outputs=(Tensor("z", "float32", ("batch",)), ')],
            r"line answers with 1 of 2 declared tensors \(z, y\)",
        ),
        (
            [("trained.network.eval()", "nn.Sequential(trained.network, nn.Flatten(0)).eval()")],
            r"to 8 items is float32 \[8\] as 'y', declared is float32 \[batch, 1\]",
        ),
        ([(SCORE, "        wrong[0]\n" + SCORE)], "its score cannot be computed from such answers: NameError in line"),
        ([('})["y"]', '})["Y"]')], "its score cannot be computed from such answers: KeyError in line .*'Y'"),
        (
            [('return [Metric("error"', 'return ["error"] or [Metric("error"')],
            "score returns .*, needed is a list of one or more Metric",
        ),
        ([('{"error": 0.01}', '{"accuracy": 0.01}')], "the recipe has a floor for accuracy; its score has error"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    changes: list[tuple[str, str]], said: str, tmp_path: Path, artifacts: Path
) -> None:
    path = write_line_recipe(tmp_path, *changes)
    with pytest.raises(ConchError, match=said) as told:
        tried(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("outputs", "gives"), [("10", 10), ("2", 2)])
def test_a_wrong_number_of_classes_is_told_with_the_labels(
    outputs: str, gives: int, tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = write_shapes(tmp_path), write_classifier(tmp_path, outputs)
    assert main([str(path), "--data", str(folder)]) == 1
    told = capsys.readouterr().err
    assert f"the network gives {gives} numbers an item, the data has 3 labels (circle, square, triangle)" in told
    assert "len(data.labels)" in told
    assert "Traceback" not in told
    assert list((artifacts / "checkpoints").iterdir()) == []


def test_sizes_that_are_no_json_are_told_before_training(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_recipe(str(write_line_recipe(tmp_path, ('"train": 48', '"train": np.int64(48)'))))()
    monkeypatch.setattr("training.loop.fit.run_epochs", lambda *_: pytest.fail("trained before it looked"))
    with pytest.raises(ConchError, match=r"describe\(\) of its data are kept as JSON: .*int64"):
        train(recipe, recipe.dataset())


@pytest.mark.slow
def test_the_trial_draws_from_no_random_numbers_and_the_weights_are_the_same(tmp_path: Path, artifacts: Path) -> None:
    path = write_line_recipe(
        tmp_path,
        (
            "        x, y = batch\n",
            "        x, y = batch\n        x = x + 0.1 * torch.randn_like(x) * np.random.rand()\n",
        ),
    )
    recipe = find_recipe(str(path))()

    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def drawn_after(tries: bool) -> tuple[float, float, float]:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if tries:
            try_first_batch(recipe, recipe.dataset())
        return drawn()

    assert drawn_after(tries=True) == drawn_after(tries=False)

    def weights(trial: bool) -> str:
        return str(train(recipe, recipe.dataset(), hold_floors=False, trial=trial)[0].manifest["sha256"]["weights"])

    assert weights(trial=True) == weights(trial=False)


def test_a_batch_is_tried_whole_where_a_part_of_it_does_not_do(tmp_path: Path, artifacts: Path) -> None:
    tried(
        write_line_recipe(
            tmp_path,
            ("batch_size: int = 8", "batch_size: int = 16"),
            ("        x, y = batch\n", "        x, y = batch\n        assert len(x) == 16\n"),
        )
    )


def test_the_network_sees_a_few_rows_whatever_the_score_asks_for(tmp_path: Path, artifacts: Path) -> None:
    path = write_line_recipe(
        tmp_path,
        ("module=trained.network.eval()", "module=Counted(trained.network).eval()"),
        (
            "class Trainee(",
            "class Counted(nn.Sequential):\n    def forward(self, x: torch.Tensor) -> torch.Tensor:\n"
            f"        assert len(x) <= {ROWS}, len(x)\n        return super().forward(x)\n\n\nclass Trainee(",
        ),
    )
    tried(path)


@pytest.mark.slow
def test_a_recipe_can_be_trained_without_the_trial(tmp_path: Path, artifacts: Path) -> None:
    # A score that needs a trained network to say anything.
    path = write_line_recipe(tmp_path, (SCORE, '        assert abs(predict({"x": data.x})["y"]).max() > 2.5\n' + SCORE))
    assert main([str(path)]) == 1
    assert main([str(path), "--no-trial"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMO)
def test_every_recipe_of_the_demo_passes(name: str, artifacts: Path) -> None:
    if name == "gan":
        publish_judge()
    recipe: Recipe = find_recipe(name)()
    try_first_batch(recipe, recipe.dataset(), floors=recipe.floors[recipe.data])


@pytest.mark.long
def test_the_first_of_several_processes_tries_and_tells(tmp_path: Path, artifacts: Path) -> None:
    path = write_line_recipe(tmp_path, (SCORE, "        wrong[0]\n" + SCORE))
    command = [sys.executable, "-m", "training", str(path), "--devices", "2", "--accelerator", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert done.stderr.count("its score cannot be computed from such answers: NameError") == 1
    assert "Traceback" not in done.stderr
    assert "epoch 1/" not in done.stdout
