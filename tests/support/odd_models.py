"""Models that no sound export would publish: what a load test has to find, and what it has to bear."""

import json
import shutil
from pathlib import Path

import numpy as np

from serving.repository.configuration import parse, render

HEAVY_BATCH = 128

SWAPPING = """
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

# Keeps a megabyte of each request where it is told to; pages that nobody writes to are not in memory.
DOUBLING = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.leaks = args["model_name"] == "leaking"
        self.kept = []

    def execute(self, requests):
        responses = []
        for request in requests:
            if self.leaks:
                self.kept.append(np.ones(1 << 20, np.uint8))
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x * 2)]))
        return responses
"""

# The sum of all that a sequence has sent; one that does not begin with START or goes on after END is an error.
SUMMING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            sequence, flags = request.correlation_id(), request.flags()
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            if flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.sums[sequence] = 0
            self.sums[sequence] = self.sums[sequence] + x
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", self.sums[sequence])]))
            if flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
                del self.sums[sequence]
        return responses
"""

CONFIG = """
name: "{name}" backend: "python" max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [1] }}
instance_group {{ count: 1 kind: KIND_CPU }}
{more}
"""


def write_models(artifacts: Path, folder: Path) -> Path:
    """An artifacts folder: cnn (swaps the first two rows of a batch), resnet (one instance, large batches), doubling,
    leaking, summing; and the golden answers of `sums`, which is not served: whole sequences for summing."""
    repository = folder / "models"
    for model in ("cnn", "resnet"):
        shutil.copytree(artifacts / "models" / model, repository / model)
    config = parse((repository / "cnn" / "config.pbtxt").read_text())
    config.backend = "python"
    (repository / "cnn" / "config.pbtxt").write_text(render(config))
    (repository / "cnn" / "1" / "model.py").write_text(SWAPPING)
    heavy = parse((repository / "resnet" / "config.pbtxt").read_text())
    heavy.max_batch_size = HEAVY_BATCH
    heavy.instance_group[0].count = 1
    heavy.ClearField("model_warmup")
    (repository / "resnet" / "config.pbtxt").write_text(render(heavy))
    x = np.arange(6, dtype=np.float32)[:, None]
    steps = np.arange(48, dtype=np.float32).reshape(4, 12)
    _write(repository, "doubling", DOUBLING, x, x * 2)
    _write(repository, "leaking", DOUBLING, x, x * 2)
    # `direct`, the default, sends empty requests for sequences that have nothing to say.
    oldest = "sequence_batching { oldest { max_candidate_sequences: 64 } }"
    _write(repository, "summing", SUMMING, x, x, more=oldest)
    (repository / "summing" / "1" / "manifest.json").write_text(json.dumps({"states": {"sum_in": "sum_out"}}))
    golden = folder / "golden" / "models" / "sums" / "1"
    golden.mkdir(parents=True)
    np.savez(golden / "golden.npz", **{"inputs/x": steps, "outputs/y": np.cumsum(steps, axis=1)[:, :, None]})
    for served in repository.iterdir():
        (folder / "golden" / "models" / served.name).symlink_to(served)
    return folder / "golden"


def _write(repository: Path, name: str, code: str, x: np.ndarray, y: np.ndarray, more: str = "") -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG.format(name=name, more=more))
    (version / "model.py").write_text(code)
    np.savez(version / "golden.npz", **{"inputs/x": x, "outputs/y": y})
