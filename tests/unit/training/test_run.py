"""How a run is made is asked for by flag, refused where it cannot be, and part of the fingerprint where it matters."""

import json
import sys
from pathlib import Path

import pytest
import torch

from conch.contracts.errors import ConchError
from tests.support.recipes import write_line_recipe
from training.__main__ import main
from training.catalogue import find_recipe
from training.checkpoints.up_to_date import fingerprint, is_up_to_date
from training.data.batches import ShuffledBatches, batches
from training.loop.fit import train
from training.loop.run import Run
from training.loop.trainee import Trainee
from training.recipe import Recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def line(tmp_path: Path, artifacts: Path) -> Recipe:
    return find_recipe(str(write_line_recipe(tmp_path)))()


def test_only_what_decides_the_weights_and_is_unusual_is_in_the_fingerprint(line: Recipe) -> None:
    data = line.dataset()
    usual = fingerprint(line, data)
    assert Run().decides() == {}
    assert fingerprint(line, data, Run(tensorboard=True, accelerator="cpu")) == usual
    others = [Run(precision="bf16-mixed"), Run(compile=True), Run(devices=2)]
    assert len({usual, *(fingerprint(line, data, run) for run in others)}) == 4


def test_bf16_trains_to_float32_weights_and_the_manifest_says_so(line: Recipe, artifacts: Path) -> None:
    run = Run(precision="bf16-mixed")
    checkpoint, _ = train(line, line.dataset(), hold_floors=False, run=run)
    assert all(tensor.dtype == torch.float32 for tensor in checkpoint.trained.state_dict().values())
    manifest = json.loads((artifacts / "checkpoints" / "line" / "manifest.json").read_text())
    assert manifest["run"]["precision"] == "bf16-mixed"
    assert manifest["examples_per_second"] > 0
    assert is_up_to_date(line, line.dataset(), run)
    assert not is_up_to_date(line, line.dataset())


def test_tensorboard_files_hold_the_metrics_and_the_settings(line: Recipe, artifacts: Path) -> None:
    train(line, line.dataset(), hold_floors=False, run=Run(tensorboard=True))
    folder = artifacts / "tensorboard" / "line" / "version_0"
    assert "learning_rate: 0.2" in (folder / "hparams.yaml").read_text()
    (events,) = folder.glob("events.out.tfevents.*")
    assert b"train_loss" in events.read_bytes()


def test_without_the_flag_no_tensorboard_files_are_written(line: Recipe, artifacts: Path) -> None:
    train(line, line.dataset(), hold_floors=False)
    assert not (artifacts / "tensorboard").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "16-mixed"], "--precision 16-mixed needs a GPU; on a CPU take bf16-mixed or 32-true"),
        (["--accelerator", "gpu"], "PyTorch sees 0 GPUs on this machine"),
        (["--devices", "0"], "--devices 0: it must be at least 1"),
        (["--nodes", "2"], "MASTER_ADDR, MASTER_PORT, NODE_RANK not set"),
    ],
)
def test_what_cannot_be_run_is_refused_before_training(
    flags: list[str], message: str, tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["training", str(write_line_recipe(tmp_path)), *flags])
    assert main() == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (artifacts / "checkpoints").exists()


def test_processes_share_each_epochs_batches_and_none_is_seen_twice() -> None:
    def rows(process: int, processes: int) -> list[list[int]]:
        sampler = ShuffledBatches(100, 8, seed=3)
        sampler.share(process, processes)
        sampler.set_epoch(5)
        assert len(sampler) == len(list(sampler))
        return [batch.tolist() for batch in sampler]

    alone = rows(0, 1)
    assert rows(0, 2) == alone[0::2]
    assert rows(1, 2) == alone[1::2]
    assert len(rows(0, 5)) == len(rows(4, 5)) == 2  # of 12 batches, as many each
    with pytest.raises(ConchError, match="an epoch has 12 batches of 8, 13 processes cannot share them"):
        rows(0, 13)


def test_batches_gather_the_rows_that_the_sampler_names() -> None:
    numbers = torch.arange(50).numpy()
    seen = [batch[0] for batch in batches(numbers, size=10, shuffle_seed=1)]
    assert [len(batch) for batch in seen] == [10] * 5
    assert sorted(torch.cat(seen).tolist()) == list(range(50))


def test_means_are_those_of_all_steps() -> None:
    trainee = Trainee()
    for value in (1.0, 2.0, 6.0):
        trainee.log_mean({"loss": torch.tensor(value, requires_grad=True)})
    assert trainee.take_means() == {"loss": torch.tensor(3.0)}
    assert trainee.take_means() == {}
    assert trainee.state_dict() == {}
