"""The ceiling: ONNX Runtime alone, a process with one session of one thread for each core, no server.

python -m tests.bench.serving.in_process model.onnx        a line "BATCH SECONDS" in, a line of images/s out
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from serving.server import processes

PROCESSES = 2
BATCHES = (1, 8, 32)
ROOT = Path(__file__).parents[3]


def ceiling(onnx_file: Path, seconds: float) -> tuple[float, int]:
    """Images/s of all processes together, and at which batch size: the best of `BATCHES`, each tried for `seconds`."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker(onnx_file)) for _ in range(PROCESSES)]
        return max((sum(_ask(workers, f"{batch} {seconds}")), batch) for batch in BATCHES)


def _ask(workers: list[subprocess.Popen[bytes]], line: str) -> list[float]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{line}\n".encode())
        worker.stdin.flush()
    return [_answer(worker) for worker in workers]


def _answer(worker: subprocess.Popen[bytes]) -> float:
    assert worker.stdout is not None
    return float(worker.stdout.readline())


@contextlib.contextmanager
def _worker(onnx_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.bench.serving.in_process", str(onnx_file.resolve())]
    process = processes.spawn(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        _answer(process)  # ready
        yield process
    finally:
        processes.stop(process, grace=2.0)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _serve(onnx_file: str) -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()
    print(0, flush=True)  # noqa: T201, the other end of a pipe reads it
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        images = {tensor.name: np.zeros((batch, *tensor.shape[1:]), np.uint8)}
        session.run(None, images)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            session.run(None, images)
            count += batch
        print(count / (time.perf_counter() - started), flush=True)  # noqa: T201


if __name__ == "__main__":
    _serve(sys.argv[1])
