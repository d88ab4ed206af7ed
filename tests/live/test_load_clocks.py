"""What an open loop sees and a closed one does not; workers; rows of a batch swapped by a backend."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.configuration import parse, render
from serving.server import Server

ROOT = Path(__file__).parents[2]
STOPPED_S = 2.0

SWAPPING = """
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        path = args["model_repository"] + "/" + args["model_version"] + "/model.onnx"
        self.session = onnxruntime.InferenceSession(path)

    def execute(self, requests):
        responses = []
        for request in requests:
            image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            (rows,) = self.session.run(["probabilities"], {"image": image})
            if len(rows) > 1:
                rows[[0, 1]] = rows[[1, 0]]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", rows)]))
        return responses
"""


@pytest.fixture
def own(artifacts: Path, tmp_path: Path) -> Path:
    """An artifacts folder with golden answers, and a second one for what runs beside it."""
    for name in ("open", "closed"):
        for model in ("cnn", "lstm", "resnet"):
            version = tmp_path / name / "models" / model / "1"
            version.mkdir(parents=True)
            for file in ("golden.npz", "manifest.json"):
                shutil.copy(artifacts / "models" / model / "1" / file, version)
    return tmp_path


def start(server: Server, artifacts: Path, *arguments: str, module: str = "tests.load") -> subprocess.Popen[str]:
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    environment = os.environ | {"CONCH_ARTIFACTS": str(artifacts)} | addresses
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def result(process: subprocess.Popen[str], folder: Path) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and run.json."""
    text, _ = process.communicate(timeout=90)
    path = folder / "run.json"
    return process.returncode, text, json.loads(path.read_text()) if path.is_file() else {}


def test_a_stopped_server_is_seen_from_the_intended_time_and_not_by_a_closed_loop(triton: Server, own: Path) -> None:
    common = ("run", "cnn", "--rate", "60", "--duration", "10s")
    runs = {
        "open": start(triton, own / "open", *common),
        "closed": start(triton, own / "closed", *common, "--arrivals", "closed", "--users", "1"),
    }
    time.sleep(6.0)  # both start in about two seconds
    os.kill(triton.pid, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        os.kill(triton.pid, signal.SIGCONT)
    found = {name: result(run, own / name / "report" / "load" / "cnn") for name, run in runs.items()}
    opened, closed = found["open"][2], found["closed"][2]
    assert opened["generator"]["exhausted"] == 0, found["open"][1]
    assert opened["latency_ms"]["p99"] > STOPPED_S * 1000 * 0.8
    assert closed["latency_ms"]["p99"] < STOPPED_S * 1000 * 0.25
    # It was there in both: one request of the closed loop waited the whole time.
    assert closed["latency_ms"]["max"] > STOPPED_S * 1000 * 0.8
    assert opened["failures"] == closed["failures"] == 0


def test_at_half_the_load_both_clocks_agree(triton: Server, own: Path) -> None:
    """On the median of requests that take some milliseconds; the best of five runs, for what else the machine does can
    only add to the generator's delay."""
    folder = own / "open" / "report" / "load" / "resnet"
    flags = ("run", "resnet", "--batch", "32", "--duration")
    closed = start(triton, own / "open", *flags, "2s", "--arrivals", "closed", "--users", "4", "--rate", "5000")
    capacity = result(closed, folder)[2]["requests_per_s"]
    excess: list[float] = []
    while len(excess) < 5 and min(excess, default=1.0) > 0.05:
        _, _, run = result(start(triton, own / "open", *flags, "3s", "--rate", str(capacity / 2)), folder)
        excess.append(run["latency_ms"]["p50"] / run["service_ms"]["p50"] - 1)
    assert 0 <= min(excess) <= 0.05, excess


def test_two_workers_divide_the_rate_and_merge_without_loss(triton: Server, own: Path) -> None:
    folder = own / "merged"
    arguments = [
        "-f",
        "tests/load/locustfile.py",
        "--headless",
        "-t",
        "5s",
        "--processes",
        "2",
        "--results",
        str(folder),
    ]
    process = start(triton, own / "open", *arguments, "--rate", "80", "TritonHttpUser", module="locust")
    _, text, run = result(process, folder)
    assert run["generator"]["processes"] == 2, text
    assert run["requests"] == run["generator"]["scheduled"] == sum(count for _, count in run["histogram"])
    assert run["requests_per_s"] == pytest.approx(80, rel=0.3)
    # Locust's own table, summed by its master, and what the workers' histograms say.
    rows = (folder / "locust_stats.csv").read_text().splitlines()
    columns = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert int(columns["Request Count"]) == run["requests"]
    assert float(columns["50%"]) == pytest.approx(run["latency_ms"]["p50"], abs=1e-4)
    assert float(columns["95%"]) == pytest.approx(run["latency_ms"]["p95"], abs=1e-4)


def test_a_pool_that_is_too_small_is_the_generators_failure(triton: Server, own: Path) -> None:
    flags = ("run", "lstm", "--batch", "8", "--users", "1", "--rate", "400", "--duration", "2s")
    code, text, run = result(start(triton, own / "open", *flags), own / "open" / "report" / "load" / "lstm")
    assert code == 2, text
    assert run["verdict"] == "INVALID"
    assert "found all 1 users busy" in text


@pytest.fixture(scope="module")
def swapping(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the cnn whose backend swaps the first two rows of a batch."""
    repository = tmp_path_factory.mktemp("swapping")
    shutil.copytree(artifacts / "models" / "cnn", repository / "cnn")
    config = parse((repository / "cnn" / "config.pbtxt").read_text())
    config.backend = "python"
    (repository / "cnn" / "config.pbtxt").write_text(render(config))
    (repository / "cnn" / "1" / "model.py").write_text(SWAPPING)
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


def test_rows_of_a_batch_swapped_by_the_backend_are_caught(swapping: Server, own: Path) -> None:
    folder = own / "open" / "report" / "load" / "cnn"
    flags = ("run", "cnn", "--rate", "30", "--duration", "2s")
    _, text, alone = result(start(swapping, own / "open", *flags), folder)
    assert alone["wrong_answers"] == 0, text
    code, text, run = result(start(swapping, own / "open", *flags, "--batch", "2"), folder)
    assert code == 1, text
    # Two equal items in a batch are right either way.
    assert run["wrong_answers"] > 0.8 * run["requests"] > 0
    assert run["goodput_per_s"] < 0.2 * run["requests_per_s"]
