"""A signal ends a run with the signal's own exit code whenever it comes, and nothing half-written is left."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conch.contracts.owned import LOCK
from conch.contracts.whole import PREFIX, whole_folder
from tests.support.recipes import write_line_recipe
from training.catalogue import find_recipe
from training.checkpoints.checkpoint import load_checkpoint
from training.commands import train
from training.commands.train import main
from training.loop import fit
from training.loop.stopping import RunStopped, StopWhenAsked

pytestmark = pytest.mark.slow

EPOCHS = 30
MOMENTS = f'''
def of_score() -> str:
    """The moment of a call of the score, by who asks for it."""
    tried = any(frame.name == "try_first_batch" for frame in traceback.extract_stack())
    return "the trial" if tried else "the score"


def at(moment: str, epoch: int = {EPOCHS - 1}) -> None:
    """Send this process the signal, where the test asks for it at this moment of the last epoch."""
    if os.environ.get("MOMENT") == moment and epoch == {EPOCHS - 1}:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))


class Trainee(LightningModule):
    def on_train_epoch_end(self) -> None:
        at("the end of an epoch", self.current_epoch)

    def validation_step(self, batch: Any, _: int) -> None:
        at("validation", self.current_epoch)

    def on_save_checkpoint(self, checkpoint: Any) -> None:
        at("the state is written", self.current_epoch)
'''
SAMPLES = """
    def samples(self, predict: Any, data: Any, path: Any) -> None:
        at("the checkpoint is written")

    def score("""
STATE, CHECKPOINT = ".line.state", "line"


@pytest.fixture
def recipe_file(tmp_path: Path, artifacts: Path) -> Path:
    return write_line_recipe(
        tmp_path,
        ("from dataclasses", "import os\nimport traceback\nfrom dataclasses"),
        ("\nclass Trainee(LightningModule):\n", MOMENTS + "\n"),
        ("seed=self.seed), None", "seed=self.seed), batches(data.x[48:], data.y[48:], size=8)"),
        ("    def trainee(self, data: Points) -> Trainee:\n", "    def trainee(self, data: Points) -> Trainee:\n"
         "        at('the network is made')\n"),
        ("\n    def score(", SAMPLES),
        ("        error = np.abs", "        at(of_score())\n        error = np.abs"),
    )  # fmt: skip


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[signal.Signals]:
    """A signal that fails the test, and not the test run, where nobody listens."""

    def nobody(*_: object) -> None:
        raise RuntimeError("nobody listened")

    monkeypatch.setenv("SIGNAL", str(int(request.param)))
    before = signal.signal(request.param, nobody)
    yield request.param
    signal.signal(request.param, before)


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("the network is made", []),
        ("the trial", []),
        ("validation", [STATE]),
        ("the state is written", [STATE]),
        ("the end of an epoch", [STATE]),
        ("the score", [STATE]),
        ("the checkpoint is written", [STATE]),
    ],
)
def test_a_signal_at_any_moment_keeps_the_state_and_leaves_no_half(
    moment: str, left: list[str], number: signal.Signals, recipe_file: Path, artifacts: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MOMENT", moment)
    assert main([str(recipe_file)]) == 128 + number
    assert "stopped; no checkpoint of line is half-written; --resume goes on" in capsys.readouterr().err
    assert [entry.name for entry in (artifacts / "checkpoints").iterdir()] == left
    monkeypatch.delenv("MOMENT")
    assert main([str(recipe_file), "--resume"]) == 0
    assert [entry.name for entry in (artifacts / "checkpoints").iterdir()] == [CHECKPOINT]
    assert len((artifacts / "checkpoints" / CHECKPOINT / "metrics.csv").read_text().splitlines()) == 1 + EPOCHS


def test_a_signal_while_the_checkpoint_takes_its_place_leaves_it_whole(
    number: signal.Signals, recipe_file: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def signalled(target: Path) -> Iterator[Path]:
        with whole_folder(target) as folder:
            yield folder
            os.kill(os.getpid(), number)

    monkeypatch.setattr(fit, "whole_folder", signalled)
    recipe = find_recipe(str(recipe_file))()
    with pytest.raises(RunStopped) as stopped:
        fit.train(recipe, recipe.dataset())
    assert stopped.value.exit_code == 128 + number
    assert {entry.name for entry in (artifacts / "checkpoints").iterdir()} == {STATE, CHECKPOINT}
    load_checkpoint(str(recipe_file))


def test_an_error_is_told_even_where_a_signal_came_before_it(number: signal.Signals) -> None:
    def failing() -> None:
        with StopWhenAsked().listening():
            os.kill(os.getpid(), number)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        failing()


def test_what_a_killed_process_of_several_was_writing_is_removed(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not end within the supervisor's patience is killed in the middle of whatever it did."""
    left = artifacts / "checkpoints" / f"{PREFIX}left"

    def killed(*_: object) -> int:
        left.mkdir(parents=True)
        (left / LOCK).touch()
        return 128 + signal.SIGTERM

    monkeypatch.setattr(train, "run_processes", killed)
    assert main([str(write_line_recipe(tmp_path)), "--devices", "2", "--accelerator", "cpu"]) == 128 + signal.SIGTERM
    assert not left.exists()
