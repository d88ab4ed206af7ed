"""Triton's tensors become ONNX Runtime's by DLPack and back without a copy, in the stub that a backend really runs in.

The tensors are in the host's memory; one in a GPU's takes the same way. The model below is of Triton's own Python
backend and uses the files of Conch's, with tensors that say that they are on a device.
"""

from pathlib import Path

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

from serving.server.server import Server
from serving.server.tritonserver import BACKEND
from tests.support import graphs

MODEL = f"""
import sys

sys.path.insert(0, {str(BACKEND)!r})

import json
import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from device_memory import DeviceRuns, take
from pathlib import Path
from runner import Runner


class OnDevice:
    def __init__(self, tensor):
        self.name, self.is_cpu, self.__dlpack__ = tensor.name, lambda: False, tensor.__dlpack__


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        session = ort.InferenceSession(Path(args["model_repository"]) / args["model_version"] / "model.onnx")
        self.runner = Runner(config, session, device=DeviceRuns(session, "cpu", 0))

    def execute(self, requests):
        responses = []
        for request in requests:
            (tensor,) = request.inputs()
            value = take(OnDevice(tensor))
            assert value.data_ptr() == np.from_dlpack(tensor).ctypes.data, "the input was copied"
            (answer,) = self.runner.run_placed([{{"x": value}}], ["doubled"])
            output = pb_utils.Tensor.from_dlpack("doubled", answer["doubled"])
            responses.append(pb_utils.InferenceResponse([output]))
        return responses
"""

CONFIG = """backend: "python" max_batch_size: 4 instance_group { kind: KIND_CPU }
input { name: "x" data_type: TYPE_FP32 dims: [4] } output { name: "doubled" data_type: TYPE_FP32 dims: [4] }
"""


def test_tensors_go_in_and_out_by_dlpack(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "bridge"
    (folder / "1").mkdir(parents=True)
    graphs.write(graphs.AFFINE, folder / "1" / "model.onnx")
    (folder / "1" / "model.py").write_text(MODEL)
    (folder / "config.pbtxt").write_text(CONFIG)
    server = Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0)
    with server, InferenceServerClient(server.http) as client:
        for rows in (1, 3):
            x = np.random.default_rng(rows).standard_normal((rows, 4), np.float32)
            given = InferInput("x", [rows, 4], "FP32")
            given.set_data_from_numpy(x)
            np.testing.assert_array_equal(client.infer("bridge", [given]).as_numpy("doubled"), 2 * x)
