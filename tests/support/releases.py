"""Versions of two small models, and `conch` over them, as a person types it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from serving.repository.publish import publish
from serving.server.running import Running, running
from tests.support import graphs

TIMES, PICKED = "times", "picked"
FACTORS = {1: 10, 2: 20, 3: 30}
"""What version N of the model `times` multiplies by."""
STREAM = """
picked (int64[batch, 1] index, float[batch, 1] sum_in) => (float[batch, 1] total, float[batch, 1] sum_out)
<float[4] table = {{1, {ten}, 100, 1000}}>
{{ value = Gather(table, index)
  sum_out = Add(sum_in, value)
  total = Identity(sum_out) }}
"""


def put(repository: Path, version: int, text: str = "") -> Path:
    """Publish a version of `times`, of the graph `text` or one that multiplies."""
    text = text or (
        f"times (float[batch, 2] x) => (float[batch, 2] y) <float f = {{{FACTORS[version]}}}> {{ y = Mul(x, f) }}"
    )
    file = graphs.write(text, repository.parent / f"{version}.onnx")
    return publish(
        file, name=TIMES, repository=repository, max_batch_size=4, manifest={}, parity=[], golden=graphs.golden(file)
    )


def put_stream(repository: Path, ten: int) -> None:
    """Publish a version of `picked`, a model with a state: the sum of what was picked of 1, `ten`, 100, 1000."""
    file = graphs.write(STREAM.format(ten=ten), repository.parent / "stream.onnx")
    publish(
        file, name=PICKED, repository=repository, max_batch_size=4, manifest={}, parity=[],
        golden=graphs.golden(file), states=(("sum_in", "sum_out"),),
    )  # fmt: skip


def start(*words: str, artifacts: Path) -> subprocess.Popen[str]:
    """`conch ...` over these artifacts."""
    environment = {**os.environ, "CONCH_ARTIFACTS": str(artifacts), "TMPDIR": str(artifacts.parent), "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-m", "conch", *words], env=environment, text=True, cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(*words: str, artifacts: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `conch ...`."""
    process = start(*words, artifacts=artifacts)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


@contextlib.contextmanager
def served(artifacts: Path) -> Iterator[Running]:
    """`conch serve` over these artifacts, as a person starts it."""
    file = artifacts / "server" / "state.json"
    process = start("serve", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", artifacts=artifacts)
    try:
        deadline = time.monotonic() + 120
        while (found := running(file)) is None:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
