"""Run an ONNX file with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from conch.contracts.comparison import compare
from conch.contracts.errors import ConchError
from serving.onnx_files.custom_operators import open_with_operators
from serving.onnx_files.runtime_reason import runtime_reason
from training.recipe import Predict

CPU: tuple[Any, ...] = ("CPUExecutionProvider",)


def onnx_predict(model: Path | bytes, threads: int = 0, providers: Sequence[Any] = CPU) -> Predict:
    """A `Predict` of an ONNX file, or of its bytes; it takes any batch.

    Split large batches with `in_batches`.

    Args:
        model: the file or its bytes.
        threads: how many one operator may use; 0 leaves it to ONNX Runtime.
        providers: ONNX Runtime's execution providers, by name or with their options, the preferred first.

    Raises:
        ConchError: ONNX Runtime does not load the file, or not with the preferred provider.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what fails is raised as well, and told by who asked
    try:
        # Without enable_fallback=0 a provider that does not start would be left out, with a line on stdout.
        session = open_with_operators(model, options, providers, enable_fallback=0)
    except Exception as error:  # its exceptions share no base class
        name = model if isinstance(model, Path) else "the graph"
        raise ConchError(f"ONNX Runtime does not load {name}: {runtime_reason(error)}") from error
    preferred = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if preferred not in session.get_providers():
        raise ConchError(f"ONNX Runtime runs on {', '.join(session.get_providers())} and not on {preferred}")
    names = [output.name for output in session.get_outputs()]

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Its arrays are lent to the session, which has them in place of copies.
        lent = {name: array.copy() for name, array in inputs.items()}
        outputs = dict(zip(names, session.run(names, lent), strict=True))
        if changed := [name for name, array in inputs.items() if not compare(lent[name], array).agrees]:
            raise ConchError(f"ONNX Runtime changed the inputs that it was lent: {', '.join(changed)}")
        return outputs

    return predict
