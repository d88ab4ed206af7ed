"""The control client against a real Triton: it loads, counts and unloads, and says why it cannot."""

import time
from pathlib import Path

import numpy as np
import pytest

from serving.kserve.endpoint import ControlClient, Refused
from serving.repository.publish import publish
from serving.server.server import Server
from tests.support import graphs
from tests.support.calls import infer


def test_a_model_is_loaded_counted_and_unloaded(tmp_path: Path) -> None:
    file = graphs.write("scale (float[batch, 2] x) => (float[batch, 2] y) { y = Add(x, x) }", tmp_path / "model.onnx")
    golden = graphs.golden(file)
    publish(file, name="scale", repository=tmp_path / "models", max_batch_size=4, manifest={}, parity=[], golden=golden)
    explicit = ("--model-control-mode=explicit", "--load-model=scale")
    with (
        Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0, options=explicit) as server,
        ControlClient(server.http) as client,
    ):
        assert client.about().startswith("triton 2.")
        assert client.config("scale", "1")["max_batch_size"] == 4
        counted = client.statistics("scale", "1")["inference_count"]  # the warm-up's
        infer(server, "http", "scale", {"x": np.ones((1, 2), np.float32)})
        deadline = time.monotonic() + 10  # Triton answers first and counts then
        while client.statistics("scale", "1")["inference_count"] == counted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.statistics("scale", "1")["inference_count"] == counted + 1
        client.unload("scale")
        with pytest.raises(Refused, match="'scale'"):
            client.config("scale", "1")
        client.load("scale")
        assert [(model.name, model.ready) for model in client.index()] == [("scale", True)]
        with pytest.raises(Refused, match="failed to load 'nobody'"):
            client.load("nobody")
        with ControlClient(server.metrics) as metrics:
            assert "nv_inference_request_success" in metrics.metrics()
