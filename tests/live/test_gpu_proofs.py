"""The proofs of tests/gpu, all but their device: what they do is run here on the CPU, so that it cannot rot."""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from serving.server.server import Server
from tests.bench.gpu.callers import crowd
from tests.bench.gpu.plan import SYSTEM
from tests.bench.serving.memory import moved
from tests.bench.serving.wrk import Call, Sample
from tests.gpu import exactness, served

MODELS = ("cnn", "lstm", "lstm_stream")


@pytest.fixture(scope="module")
def on_cpu(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As the fixture `on_gpu`, of a few models on the CPU."""
    folder = tmp_path_factory.mktemp("on-cpu") / "models"
    with served.serving(MODELS, artifacts / "models", folder, "cpu") as server:
        yield server


def test_exactness(artifacts: Path, tmp_path: Path) -> None:
    assert list(exactness.fp32_failures("cnn", "cpu")) == []
    assert list(exactness.half_failures("cnn", "cpu", tmp_path)) == []
    (model,) = exactness.served_of("cnn")
    assert exactness.grid(model, "cpu", tf32=True).passed


def test_a_wrong_file_is_seen(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model's file under the name: the body of the proof fails, and does not only run."""
    monkeypatch.setattr(exactness, "published", lambda _: artifacts / "models" / "resnet" / "1" / "model.onnx")
    (model,) = exactness.served_of("cnn")
    assert not exactness.grid(model, "cpu").passed


def test_scores(on_cpu: Server) -> None:
    assert served.score_differences(on_cpu, "cnn") == []


def test_golden_answers_and_instances(on_cpu: Server, artifacts: Path) -> None:
    assert sum(served.golden_under_load(on_cpu, artifacts, ["cnn", "lstm"], seconds=1).values()) >= served.CALLERS
    assert served.busy_instances(on_cpu, artifacts, "cnn", seconds=2) >= served.INSTANCES


def test_shared_memory(on_cpu: Server, artifacts: Path) -> None:
    with crowd(SYSTEM, on_cpu.grpc, artifacts, "cnn", 2) as callers:
        assert callers.call(0.2).requests_per_s > 0


def test_sequences(on_cpu: Server) -> None:
    assert served.sequence_error(on_cpu, texts=20, characters=6) <= 1


def plain_driver(call: Call, connections: int, seconds: int) -> Sample:
    """What wrk does for `make test-gpu`, one connection after the other: `call` over and over for so long."""
    answered, latencies, end = 0, [], time.perf_counter() + seconds
    with requests.Session() as session:
        while (began := time.perf_counter()) < end:
            session.post(call.url, data=call.body, headers=dict(call.headers), timeout=10).raise_for_status()
            latencies.append((time.perf_counter() - began) * 1000)
            answered += 1
    return Sample(answered / seconds, *np.percentile(latencies, (50, 99)))


def test_memory(on_cpu: Server, artifacts: Path) -> None:
    # Not wrk, which `make test` does not ask a machine for.
    points = served.memory_over(
        on_cpu, artifacts / "models", requests=1200, settled=100, device="cpu", driver=plain_driver
    )
    assert len(points) >= 2
    assert points[-1][0] >= 1200
    assert "GPU" not in points[-1][1]
    assert len(points) == 2 or moved(points) < 1


@pytest.mark.parametrize("name", ["conftest", "test_exactness", "test_served"])
def test_the_proofs_can_be_collected(name: str) -> None:
    """`make test-gpu` runs them, or tells why it skips them."""
    importlib.import_module(f"tests.gpu.{name}")
