"""A server that is stopped answers what is under way, and does not stay to take its models apart for nobody."""

import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from clients import connect
from clients.address import Protocol
from serving.repository.foreign import publish_file
from serving.server.server import ANSWERED, Server
from tests.bench.growth.graphs import FEATURES, write_recurrent
from tests.support.waiting_model import publish_waiting

STEPS = 400_000  # a second of one core


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_is_under_way_is_answered_and_nothing_else_waited_for(protocol: Protocol, tmp_path: Path) -> None:
    publish_file(write_recurrent(tmp_path / "recurrent.onnx"), "recurrent", tmp_path / "models")
    x = np.ones((1, STEPS, FEATURES), np.float32)
    log, answers = tmp_path / "triton.log", []
    with Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0, log_file=log) as server:
        with connect(getattr(server, protocol), protocol, timeout=60) as client:
            expected = client.infer("recurrent", {"x": x})["y"].copy()
        asked = threading.Thread(target=lambda: answers.append(ask(getattr(server, protocol), protocol, x)))
        before = computed(server)
        asked.start()
        await_begun(server, before)
    asked.join(30)
    np.testing.assert_array_equal(answers[0], expected)
    text = log.read_text()
    assert ANSWERED in text
    assert "successfully unloaded" not in text


def ask(address: str, protocol: Protocol, x: np.ndarray) -> np.ndarray:
    with connect(address, protocol, timeout=60) as client:
        return client.infer("recurrent", {"x": x})["y"].copy()


def await_begun(server: Server, before: float) -> None:
    """Until the model's processes have computed for a fifth of a second since."""
    deadline = time.monotonic() + 30
    while computed(server) < before + 0.2:
        assert time.monotonic() < deadline, "the request never came"
        time.sleep(0.02)


def computed(server: Server) -> float:
    """Seconds of a processor that the processes of its models have had."""
    return sum(child.cpu_times().user for child in psutil.Process(server.pid).children(recursive=True))


def test_a_model_of_another_backend_ends_in_order(tmp_path: Path) -> None:
    model = publish_waiting(tmp_path / "models")
    file, ended = model / "1" / "model.py", tmp_path / "ended"
    file.write_text(f"{file.read_text()}\n    def finalize(self):\n        open({str(ended)!r}, 'w').close()\n")
    with (
        Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0) as server,
        connect(server.http) as client,
    ):
        client.infer("waiting", {"x": np.ones((1, 4), np.float32)})
    assert ended.exists()
