"""What all peers have in common: the same ONNX Runtime call as ours, one thread a session."""

import json
import os
from collections.abc import Callable

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it once, when it is imported

import numpy as np
import onnxruntime

MODELS: dict[str, str] = json.loads(os.environ["CONCH_BENCH_MODELS"])
"""Model -> its ONNX file."""
SHAPE = (28, 28, 1)
"""Of one image, uint8."""
MAX_BATCH = 32
QUEUE_DELAY_MICROSECONDS = 200
WORKERS = 2

Run = Callable[[np.ndarray], np.ndarray]


def open_session(model: str) -> Run:
    """A function from images [batch, 28, 28, 1] uint8 to probabilities [batch, classes] float32."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODELS[model], options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        (probabilities,) = session.run(None, {"image": images})
        return np.asarray(probabilities)

    return run
