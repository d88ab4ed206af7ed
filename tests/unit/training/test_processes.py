"""Several processes train one network, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conch.contracts.errors import ConchError
from tests.support.recipes import write_line_recipe
from training.checkpoints.checkpoint import load_checkpoint
from training.loop.processes import lost_a_peer, run_processes

pytestmark = pytest.mark.slow

TWO = ("--devices", "2", "--accelerator", "cpu")


def training(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "training", *arguments, *TWO]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(training(*arguments), capture_output=True, text=True, timeout=240, check=False)


def python(program: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, time, signal; rank = int(os.environ['RANK'])\n{program}"]


def test_two_processes_on_the_cpu_reach_the_floor(artifacts: Path) -> None:
    done = run("cnn", "--batch-size", "16", "--epochs", "8")  # the command holds the floor
    assert done.returncode == 0, done.stderr
    manifest = load_checkpoint("cnn").manifest
    assert manifest["score"][0]["floor"] == 98.0
    assert manifest["run"]["devices"] == 2
    rows = (artifacts / "checkpoints" / "cnn" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + manifest["settings"]["epochs"]  # one process wrote
    assert [entry.name for entry in (artifacts / "checkpoints").iterdir()] == ["cnn"]
    assert done.stdout.count("accuracy 9") == done.stdout.count("held-out accuracy 9") + 1


@pytest.mark.long
def test_a_killed_process_ends_all_and_the_run_goes_on_to_the_same_weights(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = training("cnn", "--epochs", "5", "--no-floors")
    state = artifacts / "checkpoints" / ".cnn.state"
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(state, running)
    children = psutil.Process(running.pid).children(recursive=True)
    children[1].kill()
    _, shown = running.communicate(timeout=120)
    assert running.returncode == 1, shown
    assert "process 1 of the run was ended by SIGKILL, the others with it; --resume goes on" in shown
    assert "Traceback" not in shown
    assert not any(child.is_running() for child in children)
    assert run("cnn", "--epochs", "5", "--no-floors", "--resume").returncode == 0
    resumed = load_checkpoint("cnn").manifest["sha256"]["weights"]
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts.with_name("uninterrupted")))
    assert run("cnn", "--epochs", "5", "--no-floors").returncode == 0
    assert load_checkpoint("cnn").manifest["sha256"]["weights"] == resumed


@pytest.mark.long
def test_ctrl_c_leaves_no_process_behind(artifacts: Path) -> None:
    state = artifacts / "checkpoints" / ".cnn.state"
    running = subprocess.Popen(
        training("cnn", "--epochs", "500"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(state, running)
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGINT)
    _, shown = running.communicate(timeout=120)
    assert running.returncode == 130, shown
    assert "stopped; no checkpoint of cnn is half-written; --resume goes on" in shown
    assert "Traceback" not in shown
    assert not any(child.is_running() for child in children)
    assert [entry.name for entry in state.parent.iterdir()] == [state.name]


@pytest.mark.long
def test_an_error_of_one_process_is_told_and_ends_all(tmp_path: Path, artifacts: Path) -> None:
    recipe = write_line_recipe(
        tmp_path,
        (
            "        x, y = batch\n",
            "        if self.global_rank == 1:\n            raise ConchError('no disk')\n        x, y = batch\n",
        ),
        ("from training.data.batches", "from conch.contracts.errors import ConchError\nfrom training.data.batches"),
    )
    done = run(str(recipe))
    assert done.returncode == 1
    assert "error: no disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((artifacts / "checkpoints").iterdir()) == []


def test_the_first_to_fail_decides_the_exit_code_and_the_others_are_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    assert run_processes(python("sys.exit(3) if rank else time.sleep(100)"), 2, 1) == 3
    assert time.monotonic() - began < 30
    with pytest.raises(ConchError, match="process 1 of the run was ended by SIGKILL"):
        run_processes(python("os.kill(os.getpid(), signal.SIGKILL) if rank else time.sleep(100)"), 2, 1)
    # What lost its peer is not what is told.
    assert run_processes(python("sys.exit(4) if rank else sys.exit(75)"), 2, 1) in (1, 4)


def test_each_process_knows_its_number_and_where_to_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        f"import json; names = ('RANK', 'LOCAL_RANK', 'NODE_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')\n"
        f"open({str(tmp_path)!r} + f'/{{rank}}', 'w').write(json.dumps([os.environ[name] for name in names]))"
    )
    assert run_processes(python(program), 2, 1) == 0
    first, second = (json.loads((tmp_path / str(number)).read_text()) for number in (0, 1))
    assert first[:5] == ["0", "0", "0", "2", "127.0.0.1"]
    assert second[:2] == ["1", "1"]
    assert first[5] == second[5]

    for name, value in {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run_processes(python(program), 2, 2) == 0
    assert json.loads((tmp_path / "3").read_text()) == ["3", "1", "1", "4", "10.0.0.1", "29500"]
    monkeypatch.setenv("NODE_RANK", "2")
    with pytest.raises(ConchError, match="NODE_RANK is '2'; with --nodes 2 it is a number from 0 to 1"):
        run_processes(python(program), 2, 2)


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        ("[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:21", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_lost_peer_is_told_from_other_errors(message: str, lost: bool) -> None:
    assert lost_a_peer(RuntimeError(message)) is lost


def wait_for(file: Path, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.poll() is None, os.fsdecode(file)
