"""The picture of docs/load.md: a server that stands still for two seconds, seen by an open and by a closed loop.

python -m tests.bench.stopped     # writes docs/load-stopped.svg; about 20 s, needs artifacts/models
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from conch.contracts.artifacts import models_folder
from loadtest.drawing import RESPONSE, SERVICE, as_svg, finish, plain
from serving.server.server import Server

PICTURE = Path(__file__).parents[2] / "docs" / "load-stopped.svg"
LOOPS = {"poisson": (), "closed": ("--arrivals", "closed", "--users", "1")}


def main() -> None:
    """Measure both at once and draw."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        models = models_folder().resolve()
        with Server(models, http_port=0, grpc_port=0, metrics_port=0) as server:
            runs = [_start(server, own / name, models, *flags) for name, flags in LOOPS.items()]
            time.sleep(6)
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(2)
            os.kill(server.pid, signal.SIGCONT)
            for run in runs:
                run.wait(60)
        found = {name: json.loads((own / name / "report/load/cnn/run.json").read_text()) for name in LOOPS}
    PICTURE.write_text(draw(found))


def draw(found: dict[str, dict[str, Any]]) -> str:
    """Share of requests that took longer than a time, both axes logarithmic."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    labels = {"poisson": "open loop, from the intended time", "closed": "closed loop, from the real send"}
    for (name, run), colour in zip(found.items(), (RESPONSE, SERVICE), strict=True):
        bounds, counts = np.array(run["histogram"], float).reshape(-1, 2).T
        longer = 100 - (np.cumsum(counts) - counts) / counts.sum() * 100
        p99 = run["latency_ms"]["p99"]
        label = f"{labels[name]}: p99 {p99:.0f} ms, {run['requests']} requests"
        axes.step(bounds, longer, where="post", color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain(axes.xaxis)
    plain(axes.yaxis)
    axes.axhline(1, color="#5f6b76", linewidth=0.8)
    axes.set(xlabel="ms", ylabel="% of requests that took longer", title="A server that stood still for 2 s of 10")
    finish(axes)
    axes.legend(frameon=False, loc="upper center")
    axes.set_ylim(top=400)
    return as_svg(figure)


def _start(server: Server, own: Path, models: Path, *flags: str) -> "subprocess.Popen[bytes]":
    own.mkdir()
    (own / "models").symlink_to(models)
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    command = [sys.executable, "-m", "loadtest", "run", "cnn", "--rate", "60", "--duration", "10s", *flags]
    environment = os.environ | {"CONCH_ARTIFACTS": str(own)} | addresses
    return subprocess.Popen(command, cwd=PICTURE.parents[1], env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
