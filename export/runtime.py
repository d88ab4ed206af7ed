"""Run an ONNX file with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from training.errors import ConchError
from training.recipe import Predict


def onnx_predict(path: Path, threads: int = 0) -> Predict:
    """A `Predict` of the file on the CPU; it takes any batch, so split large ones with `in_batches`.

    Args:
        path: the model.
        threads: how many one operator may use; 0 leaves it to ONNX Runtime.

    Raises:
        ConchError: ONNX Runtime does not load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what fails is raised as well, and told by who asked
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise ConchError(f"ONNX Runtime does not load {path}: {' '.join(str(error).split())[:500]}") from error
    names = [output.name for output in session.get_outputs()]

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return predict
