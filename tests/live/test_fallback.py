"""A GPU that is asked for and not there: told where the configuration allows the CPU, refused where it does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from serving.errors import ServingError
from serving.server.server import Server
from tests.support import graphs

CONFIG = """backend: "onnxruntime" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [4] } output { name: "doubled" data_type: TYPE_FP32 dims: [4] }
"""
TENSORRT = """optimization { execution_accelerators { gpu_execution_accelerator {
    name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } } } }
"""
GRAPHS = "optimization { cuda { graphs: true graph_spec { batch_size: 2 } } }\n"
ON_DEVICE = 'parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "no" } }\n'

ALLOWED = {
    "plain": (CONFIG, "CPU"),
    "tensorrt": (CONFIG + TENSORRT, "CPU, asked for TensorRT"),
    "graphs": (CONFIG + GRAPHS + ON_DEVICE + "instance_group { kind: KIND_AUTO }", "CPU, asked for CUDA"),
    "cpu_of_its_own_will": (CONFIG + TENSORRT + "instance_group { kind: KIND_CPU }", "CPU"),
}
"""Model -> its configuration, and what `serving status` says it runs on where there is no GPU."""


pytestmark = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")


def write(repository: Path, name: str, config: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    graphs.write(graphs.AFFINE, repository / name / "1" / "model.onnx")
    (repository / name / "config.pbtxt").write_text(config)


def test_a_fallback_is_in_the_log_and_in_the_status_and_answers_right(tmp_path: Path) -> None:
    for name, (config, _) in ALLOWED.items():
        write(tmp_path / "models", name, config)
    log = tmp_path / "triton.log"
    with Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0, log_file=log) as server:
        said = os.environ | {"CONCH_HTTP": server.http, "CONCH_METRICS": server.metrics, "COLUMNS": "120"}
        status = subprocess.run(
            [sys.executable, "-m", "serving", "status"],
            env=said,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        given = InferInput("x", [3, 4], "FP32")
        given.set_data_from_numpy(x)
        with InferenceServerClient(server.http) as client:
            for name in ALLOWED:
                np.testing.assert_array_equal(client.infer(name, [given]).as_numpy("doubled"), 2 * x)
    rows = [re.split(" {2,}", line) for line in status.stdout.splitlines()]
    assert {row[0]: row[3] for row in rows if len(row) == 4 and row[0] != "model"} == {
        name: where for name, (_, where) in ALLOWED.items()
    }
    assert set(re.findall(r"model '(\w+)' asks for \w+ and runs on CPU", log.read_text())) == {"tensorrt", "graphs"}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (CONFIG + "instance_group { kind: KIND_GPU }", "kind KIND_GPU but no GPUs are available"),
        (
            CONFIG + GRAPHS.replace("2", "5"),
            r"optimization.cuda.graph_spec: batch_size 5; wanted: 1 to 4",
        ),
    ],
)
def test_what_is_not_allowed_does_not_load(tmp_path: Path, config: str, reason: str) -> None:
    write(tmp_path / "models", "must", config)
    server = Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0)
    with pytest.raises(ServingError, match=f"model 'must' version 1 failed to load: .*{reason}"), server:
        pass
