"""A model that waits instead of computing, as one does whose accelerator is another chip: the cores are free then."""

from pathlib import Path

from serving.repository.foreign import publish_file
from tests.support import graphs

MODEL = """
import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        begun = time.monotonic()
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        rows = sum(len(x) for x in inputs)
        time.sleep(max(0.0, begun + {base} + {row} * rows - time.monotonic()))
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("doubled", x + x), pb_utils.Tensor("total", x.sum(1, dtype=np.float32))]
            )
            for x in inputs
        ]
"""
CONFIG = """
name: "waiting"
backend: "python"
max_batch_size: {batch}
input {{ name: "x" data_type: TYPE_FP32 dims: [4] }}
output {{ name: "doubled" data_type: TYPE_FP32 dims: [4] }}
output {{ name: "total" data_type: TYPE_FP32 dims: [1] reshape {{ shape: [] }} }}
instance_group {{ count: {instances} kind: KIND_CPU }}
dynamic_batching {{ }}
"""


def publish_waiting(
    repository: Path, base_s: float = 0.004, row_s: float = 0.001, batch: int = 8, instances: int = 1
) -> Path:
    """A model `waiting`, with golden answers, whose batches take `base_s` and `row_s` for each row; its folder."""
    version, _ = publish_file(graphs.write(graphs.AFFINE, repository.parent / "affine.onnx"), "waiting", repository)
    (version / "model.py").write_text(MODEL.format(base=base_s, row=row_s))
    (version.parent / "config.pbtxt").write_text(CONFIG.format(batch=batch, instances=instances))
    return version.parent
