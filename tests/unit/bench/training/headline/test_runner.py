"""The runner with a real, tiny training in a process of its own."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import tests.bench.training.headline.__main__ as runner
from conch.contracts.errors import ConchError
from serving.server.interruption import Interrupted, interruptible
from tests.bench.training.headline.__main__ import Settings, run
from tests.bench.training.headline.runs import Run
from tests.bench.training.headline.timed_training import train, training_at_hand
from tests.support.digits_like import publish_judge

pytestmark = pytest.mark.slow

MARKERS = "<!-- begin headline -->\n<!-- end headline -->\n"
RUN = Run("lenet", "LeNet-5", ("cnn", "--data", "digits", "--epochs", "1"), 5, {"accuracy": 20.0})


def make_docs(folder: Path) -> Path:
    folder.mkdir()
    (folder / "training.md").write_text(f"# Training\n{MARKERS}")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The docs folder after one whole run."""
    folder = tmp_path_factory.mktemp("headline")
    docs = make_docs(folder / "docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(folder / "artifacts"))
        assert run(Settings(docs=docs), [RUN]) == 0
        yield docs


@pytest.fixture
def again(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folders for another command, which must not train."""
    monkeypatch.setenv("CONCH_ARTIFACTS", str(done.parent / "artifacts"))

    def trained(_: Run) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr(runner, "train", trained)
    return done


def test_a_run_is_trained_timed_judged_and_written(done: Path) -> None:
    result = json.loads((done / "training" / "lenet.json").read_text())
    assert result["training"]["command"] == "python -m training cnn --data digits --epochs 1"
    assert 1 < result["training"]["seconds"] < 300
    assert 0 <= result["training"]["others"] <= 1
    manifest = json.loads((done.parent / "artifacts/headline/checkpoints/cnn/manifest.json").read_text())
    assert result["weights"] == result["training"]["weights"] == manifest["sha256"]["weights"]
    assert result["judgement"]["metrics"][0]["value"] == pytest.approx(manifest["score"][0]["value"])
    assert {path.name for path in (done / "training").iterdir()} == {
        "lenet.json", "lenet-curves.png", "lenet-errors.png",
    }  # fmt: skip
    page = (done / "training.md").read_text()
    assert "### 1 of 1 runs meet all their floors" in page
    assert str(done.parent) not in page  # no path of this machine


def test_what_is_done_is_not_done_again(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Settings(docs=again, if_changed=True), [RUN]) == 0
    assert "lenet: done before" in capsys.readouterr().out


def test_another_command_is_done_again(again: Path) -> None:
    with pytest.raises(AssertionError, match="it trained"):
        runner._make(replace(RUN, arguments=(*RUN.arguments, "--seed", "1")), Settings(docs=again, if_changed=True))


def test_the_page_is_written_from_results_alone(again: Path) -> None:
    before = (again / "training.md").read_text()
    assert run(Settings(docs=again, page_only=True), [replace(RUN, floors={"accuracy": 99.9})]) == 1
    assert "| accuracy | at least 99.9 % |" in (again / "training.md").read_text()
    assert run(Settings(docs=again, page_only=True), [RUN]) == 0
    assert (again / "training.md").read_text() == before


def test_judging_alone_keeps_the_time(again: Path) -> None:
    before = json.loads((again / "training" / "lenet.json").read_text())
    assert run(Settings(docs=again, judge_only=True), [RUN]) == 0
    assert json.loads((again / "training" / "lenet.json").read_text())["training"] == before["training"]


def test_a_checkpoint_of_somebody_else_has_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifacts: Path
) -> None:
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts / "headline"))
    publish_judge()
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts))
    docs = make_docs(tmp_path / "docs")
    assert run(Settings(docs=docs, judge_only=True), [RUN]) == 1
    assert "| time | at most 5 min | not measured | **missed** |" in (docs / "training.md").read_text()


def test_a_missing_checkpoint_and_a_failing_training_leave_the_page_in_order(
    tmp_path: Path, artifacts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docs = make_docs(tmp_path / "docs")
    assert run(Settings(docs=docs, judge_only=True), [RUN]) == 1
    assert "error: lenet: no checkpoint in" in capfd.readouterr().err
    assert run(Settings(docs=tmp_path / "docs"), [replace(RUN, arguments=("nosuch",))]) == 1
    assert "ended with exit code 1; its own words are above" in capfd.readouterr().err
    assert "| accuracy | 20 | - | not run |" in (docs / "training.md").read_text()
    assert not (docs / "training").exists()


def test_bad_input_is_told_before_anything_is_trained(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "training.md").write_text("no markers")
    for arguments, message in (
        (["lenet", "--docs", str(docs)], "does not have the two markers once and in order"),
        (["nosuch"], "no headline run 'nosuch'; there are: lenet, resnet, lstm, autoencoder, gan, all"),
    ):
        monkeypatch.setattr("sys.argv", ["headline", *arguments])
        assert runner.main() == 1
        assert message in capsys.readouterr().err
    (docs / "training.md").write_text(MARKERS)
    (docs / "training").mkdir()
    (docs / "training" / "gan.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["headline", "lenet", "--docs", str(docs)])
    assert runner.main() == 1
    assert "gan.json is damaged" in capsys.readouterr().err
    assert not artifacts.exists()


def test_a_damaged_record_of_the_training_is_no_silent_loss_of_its_time(artifacts: Path) -> None:
    (artifacts / "trainings").mkdir(parents=True)
    (artifacts / "trainings" / "lenet.json").write_text("{")
    with pytest.raises(ConchError, match=r"trainings/lenet\.json is damaged .* -m tests\.bench.* lenet$"):
        training_at_hand(RUN)


def test_an_interrupt_ends_the_training(artifacts: Path) -> None:
    before = psutil.Process().children()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(Interrupted), interruptible():
        train(replace(RUN, arguments=("cnn", "--data", "digits", "--epochs", "100000")))
    assert psutil.Process().children() == before
    assert not (artifacts / "trainings").exists()
