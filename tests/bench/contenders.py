"""One way to run the models, in a process of its own: no contender's threads or memory are in another's way.

    python -m tests.bench.contenders "ONNX Runtime fp32" 2

Reads a line of JSON for each turn and writes one with what it took; `tests.bench.rounds` is the other end.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

MODELS = ("cnn", "resnet", "autoencoder", "gan", "lstm")
BATCHES = (1, 8, 32)
EAGER, COMPILED, FP32, INT8 = "PyTorch eager", "torch.compile", "ONNX Runtime fp32", "ONNX Runtime int8"
CONTENDERS = (EAGER, COMPILED, FP32, INT8)
TURN_SECONDS = 0.012

Call = Callable[[], object]


def serve(contender: str, threads: int) -> None:
    """Answer each line `{"model": ..., "batch": ...}` with `{"ms": of one call}`, or `{}` where it is not published."""
    answer_turns(_pytorch(contender, threads) if contender in (EAGER, COMPILED) else _onnx_runtime(contender, threads))


def answer_turns(
    prepare: Callable[[str, int], Call | None],
    seconds: float = TURN_SECONDS,
    refusals: type[Exception] | tuple[type[Exception], ...] = (),
) -> None:
    """Answer each line of the standard input with the time of one call, of as many as take about `seconds`.

    Args:
        prepare: from a model and a batch size, what is timed; None where there is no such model.
        refusals: what `prepare` and a first call may raise; answered with `{"why": ...}`, every time it is asked.
    """
    repeats: dict[tuple[str, int], int] = {}
    refused: dict[tuple[str, int], str] = {}

    @cache
    def call_for(model: str, batch: int) -> Call | None:
        return prepare(model, batch)

    for line in sys.stdin:
        turn = json.loads(line)
        place = turn["model"], turn["batch"]
        answer: dict[str, Any] = {}
        try:
            call = None if place in refused else call_for(*place)
            if call is not None and place not in repeats:
                call()  # what is done once: allocation, caches, compilation
                repeats[place] = max(1, round(seconds / _seconds(call, 1)))
            if call is not None:
                call()  # wakes its threads
                answer = {"ms": _seconds(call, repeats[place]) * 1000}
        except refusals as error:
            refused[place] = " ".join(str(error).split())[:300] or type(error).__name__
        if place in refused:
            answer = {"why": refused[place]}
        print(json.dumps(answer), flush=True)  # noqa: T201, the answer


def newest(model: str) -> Path | None:
    """The file of the newest version of `model`, or None where it is not published."""
    from conch.contracts.versions import latest_version
    from training.checkpoints.manifest import artifacts_folder

    version = latest_version(artifacts_folder() / "models", model)
    return version / "model.onnx" if version else None


def _seconds(call: Call, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def _pytorch(contender: str, threads: int) -> Callable[[str, int], Call | None]:
    import torch

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")

    @cache
    def module_of(model: str) -> Any:
        served = _served(model)
        # As it comes: the first shape is compiled for itself, the second makes it compile once more for any batch.
        return torch.compile(served.module) if contender == COMPILED else served.module

    def prepare(model: str, batch: int) -> Call:
        module, tensors = module_of(model), [torch.from_numpy(array) for array in _arrays(model, batch).values()]
        return torch.inference_mode()(lambda: module(*tensors))

    return prepare


def _onnx_runtime(contender: str, threads: int) -> Callable[[str, int], Call | None]:
    import onnxruntime

    # As it is served but for the number of threads.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4

    @cache
    def session_of(path: Path) -> Any:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepare(model: str, batch: int) -> Call | None:
        path = newest(model if contender == FP32 else f"{model}_int8")
        if path is None:
            return None
        session, arrays = session_of(path), _arrays(model, batch)
        return lambda: session.run(None, arrays)

    return prepare


@cache
def _served(model: str) -> Any:
    from training.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(model)
    return checkpoint.recipe.served(checkpoint.trained, checkpoint.data)[0]


def _arrays(model: str, batch: int) -> dict[str, Any]:
    import numpy as np

    served = _served(model)
    return {tensor.name: np.ascontiguousarray(served.examples[tensor.name][:batch]) for tensor in served.inputs}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
