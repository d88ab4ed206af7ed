"""One model, four ways to run it, timed with one number of threads; run in a process of its own for each number.

python -m tests.bench.contenders 2        writes JSON to the standard output
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

MODELS = ("cnn", "resnet", "autoencoder", "gan", "lstm")
BATCHES = (1, 8, 32)
CELL_SECONDS = 2.2
EAGER, COMPILED, FP32, INT8 = "PyTorch eager", "torch.compile", "ONNX Runtime fp32", "ONNX Runtime int8"


def measure(threads: int) -> list[dict[str, Any]]:
    """A row for each model and batch: the timing of each contender in ms, and the files' sizes in bytes."""
    import torch

    from training.checkpoint import artifacts_folder, load_checkpoint

    torch.set_num_threads(threads)
    rows = []
    for model in MODELS:
        checkpoint = load_checkpoint(model)
        served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]
        # As it comes: the first shape is compiled for itself, the second makes it compile once more for any batch.
        compiled = torch.compile(served.module)
        files = {FP32: newest(artifacts_folder(), model), INT8: newest(artifacts_folder(), f"{model}_int8")}
        sessions = {name: open_session(path, threads) for name, path in files.items() if path}
        for batch in BATCHES:
            timings = _cell(served, compiled, sessions, batch)
            sizes = {name: path.stat().st_size for name, path in files.items() if path}
            rows.append({"model": model, "batch": batch, "threads": threads, "ms": timings, "bytes": sizes})
            print(f"{model}, batch {batch}, {threads} threads: measured", file=sys.stderr)  # noqa: T201, a program's own
    return rows


def _cell(served: Any, compiled: Any, sessions: dict[str, Any], batch: int) -> dict[str, Any]:
    import numpy as np
    import torch

    from tests.bench.rounds import race

    arrays = {tensor.name: np.ascontiguousarray(served.examples[tensor.name][:batch]) for tensor in served.inputs}
    tensors = [torch.from_numpy(array) for array in arrays.values()]
    calls: dict[str, Callable[[], object]] = {
        EAGER: lambda: served.module(*tensors),
        COMPILED: lambda: compiled(*tensors),
        **{name: (lambda session=session: session.run(None, arrays)) for name, session in sessions.items()},  # type: ignore[misc]
    }
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: asdict(timing) for name, timing in race(calls, CELL_SECONDS).items()}


def newest(artifacts: Path, model: str) -> Path | None:
    """The file of the newest version of `model`, or None where it is not published."""
    from serving.publish import latest_version

    version = latest_version(artifacts / "models", model)
    return version / "model.onnx" if version else None


def open_session(path: Path, threads: int) -> Any:
    """A session on the CPU, set as the served one is but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Two sessions share this process: the threads of one are not to spin into the turn of the other.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    count = sys.argv[1]
    os.environ["OMP_NUM_THREADS"] = count
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    json.dump(measure(int(count)), sys.stdout)
