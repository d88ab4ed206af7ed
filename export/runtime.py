"""Run an ONNX file with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from training.errors import ConchError
from training.recipe import Predict


def onnx_predict(model: Path | bytes, threads: int = 0) -> Predict:
    """A `Predict` of an ONNX file, or of its bytes, on the CPU; it takes any batch.

    Split large batches with `in_batches`.

    Args:
        model: the file or its bytes.
        threads: how many one operator may use; 0 leaves it to ONNX Runtime.

    Raises:
        ConchError: ONNX Runtime does not load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what fails is raised as well, and told by who asked
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        name = model if isinstance(model, Path) else "the graph"
        raise ConchError(f"ONNX Runtime does not load {name}: {' '.join(str(error).split())[:500]}") from error
    names = [output.name for output in session.get_outputs()]

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return predict
