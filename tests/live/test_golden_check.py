"""A version that answers otherwise on this machine than where it was proven does not count as ready."""

from pathlib import Path

import numpy as np
import pytest

from serving.kserve.endpoint import ControlClient, Refused
from serving.repository.configuration import parse, render
from serving.repository.publish import publish
from serving.server.server import Server
from tests.support import graphs
from tests.support.calls import infer

SCALE = "scale (float[batch, 2] x) => (float[batch, 2] y) { y = Add(x, x) }"


def test_what_departs_from_its_golden_answers_is_not_ready(tmp_path: Path) -> None:
    file, models = graphs.write(SCALE, tmp_path / "model.onnx"), tmp_path / "models"
    right = graphs.golden(file)
    elsewhere = right | {"outputs/y": right["outputs/y"] + np.float32(0.2)}  # as another processor's int8 would be

    def published(name: str, golden: dict[str, np.ndarray], choice: str = "refuse") -> None:
        publish(file, name=name, repository=models, max_batch_size=4, manifest={}, parity=[], golden=golden)
        config = parse((models / name / "config.pbtxt").read_text())
        config.parameters["golden_check"].string_value = choice
        (models / name / "config.pbtxt").write_text(render(config))

    published("right", right)
    explicit, log = ("--model-control-mode=explicit", "--load-model=right"), tmp_path / "triton.log"
    with (
        Server(models, http_port=0, grpc_port=0, metrics_port=0, options=explicit, log_file=log) as server,
        ControlClient(server.http) as client,
    ):
        published("departs", elsewhere)
        published("warned", elsewhere, "warn")
        published("unasked", elsewhere, "off")
        with pytest.raises(
            Refused, match=r"golden answers: output 'y' differs by 0\.2 from what was proven"
        ) as refused:
            client.load("departs")
        assert "here ONNX Runtime" in str(refused.value)
        assert '"architecture"' in str(refused.value)
        for name in ("warned", "unasked"):
            client.load(name)
            infer(server, "http", name, {"x": np.ones((1, 2), np.float32)})
        assert {model.name for model in client.index() if model.ready} == {"right", "warned", "unasked"}
        logged = log.read_text()
        assert "model 'warned' golden answers: output 'y' differs" in logged
        assert "model 'unasked' golden" not in logged
