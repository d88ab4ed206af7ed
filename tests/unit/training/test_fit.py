"""Training leaves a whole checkpoint, or the last one."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conch.contracts.errors import ConchError
from conch.contracts.whole import whole_folder
from tests.support.recipes import write_line_recipe
from training.catalogue import find_recipe
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.up_to_date import is_up_to_date
from training.loop.epochs import KeepState, run_epochs
from training.loop.fit import train
from training.loop.run import Run
from training.recipe import Recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe_file(tmp_path: Path, artifacts: Path) -> Path:
    return write_line_recipe(tmp_path)


@pytest.fixture
def line(recipe_file: Path) -> Recipe:
    return find_recipe(str(recipe_file))()


def test_a_checkpoint_is_complete_and_reads_back(line: Recipe, recipe_file: Path, artifacts: Path) -> None:
    _, metrics = train(line, line.dataset())
    folder = artifacts / "checkpoints" / "line"
    assert {file.name for file in folder.iterdir()} == {
        "weights.safetensors", "manifest.json", "metrics.csv", "curves.png",
    }  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"] == line.settings()
    assert manifest["score"][0]["value"] == metrics[0].value < 0.01
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + line.epochs
    again = load_checkpoint(str(recipe_file))
    assert again.trained.state_dict()["network.weight"].item() == pytest.approx(2, abs=0.01)
    assert list((artifacts / "checkpoints").iterdir()) == [folder]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(recipe_file: Path) -> None:
    def weights(seed: int) -> str:
        recipe = find_recipe(str(recipe_file))(seed=seed)
        return str(train(recipe, recipe.dataset())[0].manifest["sha256"]["weights"])

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_up_to_date_until_settings_or_weights_change(line: Recipe, recipe_file: Path, artifacts: Path) -> None:
    assert not is_up_to_date(line, line.dataset())
    train(line, line.dataset())
    assert is_up_to_date(line, line.dataset())
    assert not is_up_to_date(find_recipe(str(recipe_file))(seed=3), line.dataset())
    weights = artifacts / "checkpoints" / "line" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert not is_up_to_date(line, line.dataset())


def test_a_score_below_its_floor_never_replaces_good_weights(line: Recipe, recipe_file: Path, artifacts: Path) -> None:
    good = train(line, line.dataset())[0].manifest["sha256"]["weights"]
    poor = find_recipe(str(recipe_file))(epochs=1)
    with pytest.raises(ConchError, match=r"error is .*, at most 0.01 is required"):
        train(poor, poor.dataset())
    assert load_checkpoint(str(recipe_file)).manifest["sha256"]["weights"] == good
    assert (artifacts / "checkpoints" / "line.below-floor" / "weights.safetensors").is_file()
    train(poor, poor.dataset(), hold_floors=False)
    assert load_checkpoint(str(recipe_file)).manifest["sha256"]["weights"] != good


def test_a_diverging_loss_is_named_and_touches_nothing(recipe_file: Path, artifacts: Path) -> None:
    recipe = find_recipe(str(recipe_file))(learning_rate=1e30)
    with pytest.raises(ConchError, match=r"train loss is not finite after epoch 1; try a lower --learning-rate"):
        train(recipe, recipe.dataset())
    assert list((artifacts / "checkpoints").iterdir()) == []


def test_an_unwritable_folder_is_told_before_training(
    line: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path / "file"))
    monkeypatch.setattr("training.loop.fit.run_epochs", lambda *_: pytest.fail("trained before it looked"))
    with pytest.raises(ConchError, match=r"cannot write to .*file/checkpoints: Not a directory"):
        train(line, line.dataset())


def test_a_full_disk_leaves_nothing_half_written(recipe_file: Path, artifacts: Path) -> None:
    # No file may grow beyond 100 bytes: the operating system's own error, as a full disk gives one.
    done = subprocess.run(
        [sys.executable, "-m", "training", str(recipe_file)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((artifacts / "checkpoints").iterdir()) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with whole_folder(target) as folder:
        (folder / "one").write_text("1")
        assert not target.exists()
    with pytest.raises(ZeroDivisionError), whole_folder(target) as folder:
        (folder / "two").write_text(str(1 / 0))
    assert [file.name for file in target.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.long
def test_a_run_killed_at_any_moment_ends_with_the_same_weights(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The classifier shifts its images at random: a resumed run must draw what the uninterrupted one drew.
    command = [sys.executable, "-m", "training", "cnn", "--epochs", "5", "--no-floors"]
    state = artifacts / "checkpoints" / ".cnn.state"
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not state.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert not (artifacts / "checkpoints" / "cnn").exists()
    assert subprocess.run([*command, "--resume"], capture_output=True, timeout=120, check=False).returncode == 0
    resumed = load_checkpoint("cnn").manifest["sha256"]["weights"]
    rows = (artifacts / "checkpoints" / "cnn" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(epoch) for epoch in range(5)]
    assert [entry.name for entry in state.parent.iterdir()] == ["cnn"]  # nothing of the killed run is left

    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts.with_name("uninterrupted")))
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    assert load_checkpoint("cnn").manifest["sha256"]["weights"] == resumed


def test_a_state_of_another_run_is_refused(recipe_file: Path, artifacts: Path) -> None:
    recipe = find_recipe(str(recipe_file))
    data = recipe().dataset()
    state = artifacts / "checkpoints" / ".line.state"
    state.parent.mkdir(parents=True)
    run_epochs(recipe(), data, state, "another", resume=False)
    with pytest.raises(ConchError, match="other settings, data, code or versions; start again without --resume"):
        train(recipe(), data, resume=True)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ConchError, match="is damaged"):
        train(recipe(), data, resume=True)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"not safetensors at all"])
def test_damaged_weights_are_refused(line: Recipe, recipe_file: Path, artifacts: Path, damage: bytes) -> None:
    train(line, line.dataset())
    (artifacts / "checkpoints" / "line" / "weights.safetensors").write_bytes(damage)
    with pytest.raises(ConchError, match=r"weights\.safetensors is damaged.*conch train"):
        load_checkpoint(str(recipe_file))


def test_a_missing_checkpoint_names_the_command_that_makes_it(artifacts: Path) -> None:
    with pytest.raises(ConchError, match=r"no checkpoint in .*cnn; make it with: conch train cnn"):
        load_checkpoint("cnn")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_its_own_exit_code(number: signal.Signals, code: int, artifacts: Path) -> None:
    command = [sys.executable, "-m", "training", "cnn", "--epochs", "500"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    state = artifacts / "checkpoints" / ".cnn.state"
    deadline = time.monotonic() + 60
    while not state.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(number)
    _, shown = running.communicate(timeout=60)
    assert running.returncode == code, shown
    assert "stopped; no checkpoint of cnn is half-written; --resume goes on" in shown
    assert [entry.name for entry in state.parent.iterdir()] == [state.name]


class Killed(Exception):
    """In the place of a signal that nobody can catch."""


def test_what_learns_without_gradients_goes_on_where_it_was_killed(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_recipe("rbm")(epochs=3, batch_size=512)
    data = recipe.dataset()
    whole = train(recipe, data, hold_floors=False)[0].manifest
    assert whole["learns_by"] == "contrastive divergence"
    keep = KeepState.on_train_epoch_end

    def kept_then_killed(callback: KeepState, trainer: Any, module: Any) -> None:
        keep(callback, trainer, module)
        if trainer.current_epoch == 1:
            raise Killed

    monkeypatch.setattr(KeepState, "on_train_epoch_end", kept_then_killed)
    with pytest.raises(Killed):
        train(recipe, data, hold_floors=False)
    monkeypatch.setattr(KeepState, "on_train_epoch_end", keep)
    resumed = train(recipe, data, hold_floors=False, resume=True)[0].manifest
    assert resumed["sha256"]["weights"] == whole["sha256"]["weights"]
    with pytest.raises(ConchError, match=r"rbm learns by contrastive divergence: several processes share gradients"):
        train(recipe, data, run=Run(accelerator="cpu", devices=2), trial=False)


def test_weights_that_are_no_numbers_are_named_though_no_loss_tells(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_recipe("kohonen")(epochs=1, batch_size=512)
    assert "learning_rate" not in recipe.settings()

    def spoilt(trainee: Any) -> dict[str, Any]:
        trainee.units.fill_(np.nan)
        return {}

    monkeypatch.setattr(type(recipe.trainee(recipe.dataset())), "conclude", spoilt)
    with pytest.raises(ConchError, match=r"units is not finite after epoch 1; no checkpoint was touched"):
        train(recipe, recipe.dataset(), trial=False)
    assert list((artifacts / "checkpoints").iterdir()) == []
