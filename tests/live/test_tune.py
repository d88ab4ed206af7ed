"""`serving tune` on a real server under a real load, of the shortest: interrupted, gone on with, and written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http

from serving.repository.configuration import parse
from serving.server.server import Server
from serving.tune.candidates import Candidate
from tests.support.loads import tune_measures

ROOT = Path(__file__).parents[2]
FLAGS = ("tune", "cnn", "--users", "2", "--seconds", "1", "--time", "10s")


@pytest.fixture
def own(artifacts: Path, tmp_path: Path) -> Path:
    """An artifacts folder with a model of its own, that may be written to."""
    shutil.copytree(artifacts / "models" / "cnn", tmp_path / "artifacts" / "models" / "cnn")
    return tmp_path / "artifacts"


def start(own: Path, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"CONCH_ARTIFACTS": str(own), "COLUMNS": "200", "TMPDIR": str(own.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "serving", *FLAGS, *more],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def await_first(state_file: Path, process: subprocess.Popen[str]) -> None:
    """Until one configuration is measured."""
    deadline = time.monotonic() + 60
    while not state_file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_search_is_interrupted_gone_on_with_and_written(own: Path) -> None:
    state_file, config = own / "tune" / "cnn" / "state.json", own / "models" / "cnn" / "config.pbtxt"
    before = {path: path.read_bytes() for path in (own / "models").rglob("*") if path.is_file()}
    interrupted = start(own)
    await_first(state_file, interrupted)
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=60)
    assert (interrupted.returncode, errors.count("\n")) == (130, 1)
    assert errors.startswith("Interrupted: what was measured is kept")
    first = json.loads(state_file.read_text())
    current = Candidate.of(parse(config.read_text()))
    assert Candidate(**first["searched"][0]["candidate"]) == current, "the current configuration is measured first"
    assert first["searched"][0]["points"][0]["requests_per_s"] > 0
    assert [path.name for path in own.parent.iterdir()] == ["artifacts"], "the server's and the copy's folders are gone"

    resumed = start(own)
    output, errors = resumed.communicate(timeout=90)
    assert resumed.returncode == 0, errors
    assert "Going on with" in output
    assert "current" in output
    then = json.loads(state_file.read_text())
    assert then["searched"][: len(first["searched"])] == first["searched"], "what was measured is not measured again"
    assert (own / "tune" / "cnn" / "front.png").stat().st_size > 1000
    assert before == {path: path.read_bytes() for path in (own / "models").rglob("*") if path.is_file()}

    # How the comparison of a short run ends is chance: here another configuration wins it.
    better = Candidate("cnn", 1, 2, 4, 1000)
    point = then["searched"][0]["points"][0]
    rate = point["requests_per_s"]
    then["rounds"] = [
        {"candidate": one.as_json(), "points": [point | {"requests_per_s": rate * factor}] * 5, "reason": ""}
        for one, factor in ((current, 1), (better, 2))
    ]
    state_file.write_text(json.dumps(then | {"complete_s": 10.0}))
    written = start(own, "--write")
    output, errors = written.communicate(timeout=60)
    assert written.returncode == 0, errors
    assert "written ->" in output
    assert Candidate.of(parse(config.read_text())) == better
    with Server(own / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        assert_served(server, own / "models" / "cnn" / "1" / "golden.npz")


def assert_served(server: Server, golden_file: Path) -> None:
    with np.load(golden_file) as golden, tritonclient.http.InferenceServerClient(server.http) as client:
        config = client.get_model_config("cnn")
        assert (config["max_batch_size"], config["instance_group"][0]["count"]) == (4, 1)
        assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 1000
        image = tritonclient.http.InferInput("image", [4, 28, 28, 1], "UINT8")
        image.set_data_from_numpy(golden["inputs/image"][:4])
        answer = client.infer("cnn", [image]).as_numpy("probabilities")
        assert answer == pytest.approx(golden["outputs/probabilities"][:4], abs=1e-4)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_everything_that_is_served_can_be_measured(repository: Path, tmp_path: Path) -> None:
    models = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
    tune_measures(repository, [model for model in models if model != "lstm_stream"], tmp_path / "triton.log")
