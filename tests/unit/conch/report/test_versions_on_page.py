"""A version is judged by what it was made from, whatever is trained or published over it later."""

import hashlib
import html
import json
import shutil
from pathlib import Path

import onnx
import pytest

from conch.contracts.errors import ConchError
from conch.report import score
from conch.report.evidence import gather
from conch.report.page import render_page
from conch.report.summary import summary_rows
from export.__main__ import main as export
from export.publication.pipeline import export_checkpoint
from serving.onnx_files.asked import asked
from serving.repository.foreign import publish_file
from tests.support import changed_models, graphs
from tests.support.recipes import write_line_recipe
from tests.support.trained import train_recipe
from training.catalogue import find_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def published(tmp_path: Path, artifacts: Path) -> Path:
    """The file of a recipe that was trained and exported."""
    path = write_line_recipe(tmp_path)
    export_checkpoint(train_recipe(path))
    return path


def test_a_checkpoint_that_was_trained_anew_turns_no_version_red(published: Path, artifacts: Path) -> None:
    before = json.loads((artifacts / "checkpoints" / "line" / "manifest.json").read_text())
    write_line_recipe(published.parent, ("torch.optim.SGD(", "torch.optim.Adam("))
    train_recipe(published)
    (model,) = gather(artifacts)
    assert model.retrained
    assert model.failures == []
    assert model.trained is not None
    assert model.trained["settings"] == before["settings"]
    assert "recipe_file" not in model.trained, "no path of this machine is published"
    (link,) = [link for link in model.chain if link.name == "weights"]
    assert link.sha256 == before["sha256"]["weights"]
    assert "Its checkpoint was trained anew since" in render_page([model], artifacts)


def test_what_was_run_of_another_version_is_missing_and_not_wrong(published: Path, artifacts: Path) -> None:
    live = artifacts / "report" / "live" / "line.json"
    live.parent.mkdir(parents=True)
    live.write_text(json.dumps({"version": 2, "onnx_sha256": "another", "score": [], "differences": ["line: wrong"]}))
    (model,) = gather(artifacts)
    assert model.failures == []
    assert "line: the live score at hand is of version 2, another file" in model.missing


def test_harmed_weights_are_still_told(published: Path, artifacts: Path) -> None:
    weights = artifacts / "checkpoints" / "line" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert gather(artifacts)[0].failures == ["line: weights is not what the export used"]


def test_a_recipe_of_ones_own_is_known_by_name(
    published: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_recipe("line").name() == "line"
    assert score.recipe_named("line") == "line"
    assert score.other_recipes() == ["line"]
    assert export(["explain", "line"]) == 0
    assert "as exact as PyTorch" in capsys.readouterr().out
    published.rename(published.with_name("moved.py"))
    with pytest.raises(ConchError, match=r"line was trained from .*line\.py, which is not there; give the path"):
        find_recipe("line")
    with pytest.raises(ConchError, match="the name of what was trained from one"):
        find_recipe("nobody")


def test_what_has_no_recipe_is_not_called_not_run(
    tmp_path: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = graphs.write(graphs.AFFINE, tmp_path / "affine.onnx")
    publish_file(file, "foreign", artifacts / "models")
    (row,) = summary_rows(gather(artifacts))
    assert (row["metric"], row["weights"], row["live"], row["parity"]) == ("not applicable", "-", "-", "as it came")
    page = render_page(gather(artifacts), artifacts)
    assert "Score at each step" not in page
    assert "Parity with PyTorch" not in page
    with pytest.raises(ConchError, match="published from an ONNX file without a recipe, so that nothing scores it"):
        score.recipe_named("foreign")
    assert export(["explain", "foreign"]) == 0
    assert "published as it came" in capsys.readouterr().out.replace("\n", " ")


def test_what_was_changed_in_a_file_is_on_the_page(tmp_path: Path, artifacts: Path) -> None:
    onnx.save(changed_models.parsed(changed_models.VAD), tmp_path / "vad.onnx")
    words = asked(["state=stateN"], fixed=["sr=16000"])
    publish_file(tmp_path / "vad.onnx", "vad", artifacts / "models", asked=words)
    page = html.unescape(render_page(gather(artifacts), artifacts))
    assert "input 'sr' fixed to 16000; input 'state': the batch moved from axis 1 to the front" in page
    assert "Asked the same, it answers as the file that came: bit for bit where nothing is optimized" in page
    assert "2 sequences of 4 steps, as the server keeps their states: largest difference" in page
    assert hashlib.sha256((tmp_path / "vad.onnx").read_bytes()).hexdigest() in page
    assert "next to nothing" not in page


def test_the_proof_of_a_module_is_explained_from_what_was_published(
    published: Path, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = artifacts / "models" / "line"
    shutil.copytree(model, artifacts / "models" / "module")
    file = artifacts / "models" / "module" / "1" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"source": {"kind": "module", "module": "net.py"}}))
    assert export(["explain", "module"]) == 0
    out = capsys.readouterr().out
    assert "the proof of its export from net.py" in out.replace("\n", " ")
    assert "as exact as PyTorch" in out
