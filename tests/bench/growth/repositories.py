"""Many models: what a start, one more publication, lint and the report cost."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.bench.growth.curve import Curve
from tests.bench.growth.graphs import write_dense

SERVED = (1, 3, 10, 30, 100, 200)
KEPT = (10, 30, 100, 300)
ROUNDS = 3
START_TIMEOUT = 600.0
FORKED_MOST = 1.6
FORKED = (
    "Triton forks itself for each process of a model and keeps 35 threads for it (2,867 with 40 models of two): each "
    "fork copies more"
)


def starts(tell: Callable[[str], None]) -> list[Curve]:
    """Seconds from the command to ready, and the memory of all processes once ready."""
    seconds, mebibytes = [], []
    for count in SERVED:
        tell(f"a server of {count} models")
        with repository(count) as folder:
            began = time.perf_counter()
            with Server(folder, http_port=0, grpc_port=0, metrics_port=0, timeout=START_TIMEOUT) as server:
                seconds.append(time.perf_counter() - began)
                mebibytes.append(proportional(server.pid) / 2**20)
    return [
        Curve("start", "models served", "s until ready", SERVED, tuple(seconds), FORKED, FORKED_MOST),
        Curve("memory", "models served", "MiB of all processes", SERVED, tuple(mebibytes)),
    ]


def kept(tell: Callable[[str], None]) -> list[Curve]:
    """Seconds that commands take over a repository that nobody serves."""
    found: dict[str, list[float]] = {"publish": [], "lint": [], "report": []}
    for count in KEPT:
        tell(f"a repository of {count} models")
        with repository(count) as folder:
            file = write_dense(folder.parent / "more.onnx")
            found["publish"].append(_seconds(lambda: publish_file(file, "more", folder)))  # noqa: B023
            found["lint"].append(_seconds(lambda: _command(folder, "lint")))
            found["report"].append(_seconds(lambda: _command(folder, "report")))
    return [Curve(name, "models in the repository", "s", KEPT, tuple(values)) for name, values in found.items()]


@contextmanager
def repository(models: int) -> Iterator[Path]:
    """A folder `models` with so many small ones, in an artifacts folder of its own."""
    with tempfile.TemporaryDirectory(prefix="conch-growth-") as own:
        folder = Path(own) / "models"
        file = write_dense(Path(own) / "dense.onnx")
        for number in range(models):
            publish_file(file, f"dense_{number}", folder)
        yield folder


def proportional(pid: int) -> int:
    """Bytes of a process and all that it started; what several share counts once."""
    server = psutil.Process(pid)
    return sum(one.memory_full_info().pss for one in (server, *server.children(recursive=True)))


def _seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(ROUNDS))


def _command(models: Path, verb: str) -> None:
    environment = os.environ | {"CONCH_ARTIFACTS": str(models.parent)}
    subprocess.run([sys.executable, "-m", "conch", verb], env=environment, check=True, stdout=subprocess.DEVNULL)
