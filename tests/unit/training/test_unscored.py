"""Trained weights are kept whatever the score does, and what is missing is said until it is there."""

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conch.contracts.errors import ConchError
from export.commands.recipe import main as export
from tests.support.recipes import write_line_recipe
from tests.support.shapes import write_classifier, write_shapes
from training.checkpoints.checkpoint import load_checkpoint
from training.commands.listing import main as list_checkpoints
from training.commands.train import main

pytestmark = pytest.mark.slow

SCORE = "        error = np.abs("
RETURN = '        return [Metric("error"'
# After the training only: the trial does not find it.
FAULTS = {
    "raises": (
        SCORE,
        '        if predict({"x": data.x})["y"].max() > 2.5: raise ValueError("no such label")\n' + SCORE,
    ),
    "gives none": (RETURN, '        if predict({"x": data.x})["y"].max() > 2.5: return None\n' + RETURN),
}
SAYS = {"raises": r"ValueError in line \d+ of line.py: no such label", "gives none": "TypeError: score returns None"}


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_whose_score_fails_are_kept_and_scored_once_it_is_mended(
    fault: str, tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, checkpoints = write_line_recipe(tmp_path, FAULTS[fault]), artifacts / "checkpoints"
    for attempt in (["--epochs", "20"], ["--score-only"]):
        assert main([str(path), *attempt]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert f"trained weights are in {checkpoints}/line.unscored" in told
        assert f"conch train {path} --score-only" in told
        assert [entry.name for entry in checkpoints.iterdir()] == ["line.unscored"]
    manifest = json.loads((checkpoints / "line.unscored" / "manifest.json").read_text())
    assert manifest["score"] == []
    for command, name in ((export, str(path)), (export, "line"), (main, str(path))):
        assert command([name, "--resume"] if command is main else [name]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "without a score" in told
        assert f"conch train {name} --score-only" in told
    with pytest.raises(ConchError, match=SAYS[fault]):
        load_checkpoint(str(path))
    assert list_checkpoints([]) == 0
    assert "line.unscored has no score: " in capsys.readouterr().out

    write_line_recipe(tmp_path)
    assert main([str(path), "--score-only"]) == 0
    scored = load_checkpoint(str(path)).manifest
    assert scored["sha256"]["weights"] == manifest["sha256"]["weights"]
    assert scored["settings"]["epochs"] == 20
    assert scored["score"][0]["floor"] == 0.01
    assert "score_missing" not in scored
    assert [entry.name for entry in checkpoints.iterdir()] == ["line"]
    assert main([str(path), "--score-only"]) == 1
    assert "no weights of line wait for their score" in capsys.readouterr().err


def test_a_score_that_takes_the_process_with_it_costs_no_weights(tmp_path: Path, artifacts: Path) -> None:
    kill = '        if predict({"x": data.x})["y"].max() > 2.5: os.kill(os.getpid(), 9)\n'
    path = write_line_recipe(tmp_path, (SCORE, kill + SCORE), ("import numpy", "import os\n\nimport numpy"))
    killed = subprocess.run(
        [sys.executable, "-m", "training", str(path)], capture_output=True, timeout=120, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    write_line_recipe(tmp_path)
    with pytest.raises(ConchError, match=r"without a score \(the process ended while it was scored\)"):
        load_checkpoint(str(path))
    assert main([str(path), "--score-only"]) == 0
    assert load_checkpoint(str(path)).manifest["score"][0]["floor"] == 0.01
    assert [entry.name for entry in (artifacts / "checkpoints").iterdir()] == ["line"]


def test_floors_hold_what_is_scored_later(tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_line_recipe(tmp_path, FAULTS["raises"])
    assert main([str(path)]) == 1
    write_line_recipe(tmp_path, ('{"error": 0.01}', '{"error": 0}'))
    assert main([str(path), "--score-only"]) == 1
    assert "at most 0 is required" in capsys.readouterr().err
    assert [entry.name for entry in (artifacts / "checkpoints").iterdir()] == ["line.below-floor"]


def test_the_checkpoint_before_stays_and_its_export_says_that_it_is_the_older(
    tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_line_recipe(tmp_path)
    assert main([str(path)]) == 0
    before = load_checkpoint(str(path)).manifest
    write_line_recipe(tmp_path, FAULTS["raises"])
    assert main([str(path), "--seed", "5"]) == 1
    write_line_recipe(tmp_path)
    assert load_checkpoint(str(path)).manifest == before
    capsys.readouterr()
    assert export([str(path)]) == 0
    told = capsys.readouterr().err
    assert f"older weights are exported: {artifacts}/checkpoints/line.unscored has trained weights" in told


def test_a_picture_that_cannot_be_drawn_costs_no_weights(
    tmp_path: Path, artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = (
        "    def score(",
        "    def samples(self, predict: Any, data: Any, path: Any) -> None:\n        path.write_text('half')\n"
        "        raise ValueError('no such colour')\n\n    def score(",
    )
    path = write_line_recipe(tmp_path, samples, ('"train loss"', '"$train_{loss"'))  # matplotlib sees mathematics
    with caplog.at_level(logging.WARNING):
        assert main([str(path)]) == 0
    assert "samples.png was not drawn (ValueError: no such colour)" in caplog.text
    assert not (artifacts / "checkpoints" / "line" / "samples.png").exists()
    load_checkpoint(str(path))


def test_a_value_of_numpy_is_a_metrics_value_too(tmp_path: Path, artifacts: Path) -> None:
    assert main([str(write_line_recipe(tmp_path, ("float(error)", "error")))]) == 0  # float32, which is no JSON


def test_training_says_where_the_checkpoint_is_what_is_next_and_that_no_floor_holds_it(
    tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = write_shapes(tmp_path), write_classifier(tmp_path, "len(data.labels)")
    assert main([str(path), "--data", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"checkpoint: {artifacts}/checkpoints/two_layers\n" in shown
    assert f"next: conch export {path}\n" in shown
    assert "no floor: nothing says whether accuracy " in shown
    assert "the same answer to everything reaches 33.3333 %" in shown

    line = write_line_recipe(tmp_path)
    assert main([str(line)]) == 0
    assert "floor" not in capsys.readouterr().out
    assert main([str(line), "--epochs", "1", "--no-floors"]) == 0
    assert "taken with --no-floors: error is " in capsys.readouterr().out
