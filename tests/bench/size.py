"""What `conch size` predicts for one and two servers, beside what they do: python -m tests.bench.size, make bench-size.

Two models. `waiting` sleeps for the time of a batch, as the cores do while another chip computes: the servers do not
share what they need. `cnn` computes on the cores that servers, HAProxy and generator share: there the prediction is not
to be believed, and the table shows by how much. The curve of one server is measured, then one and two servers behind
HAProxy at loads of that curve. Writes the marked section of docs/scale.md and draws docs/scale.svg. Exit code 1: a
prediction of `waiting` below 80 % load is more than 20 % off. 3: it could not be measured. Takes about a quarter of an
hour, on a machine that does nothing else; --quick takes three minutes, writes nothing and shows that it runs.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch.contracts.artifacts import models_folder
from conch.contracts.errors import ConchError
from loadtest.sizing.calibration import Calibrated, calibrate
from loadtest.sizing.curve import read_curve
from loadtest.sizing.simulation import Balancer, simulate
from serving.server.server import Server
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section
from tests.support.haproxy import INSTALL, PROGRAM, haproxy
from tests.support.waiting_model import publish_waiting

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
LOADS = (0.2, 0.4, 0.6, 0.75)
FLEETS: tuple[tuple[int, Balancer], ...] = ((1, "least_outstanding"), (2, "least_outstanding"), (2, "round_robin"))
MOST_ERROR = 0.2
PROMISE = "p99=28ms"  # of the picture: one that binds the rate of a server


class BenchError(ConchError):
    """It could not be measured; the message is one line."""


@dataclass(frozen=True)
class Times:
    """The lowest rate of the curve, and how long each rate is held for the curve and for a comparison: a p99 takes 368
    answers."""

    start: int
    curve: str
    compared: str
    loads: tuple[float, ...] = LOADS


@dataclass(frozen=True)
class Compared:
    """One fleet at one load: p99 in ms as predicted, and as measured with its interval."""

    servers: int
    balancer: Balancer
    load: float
    rate: float
    predicted: float
    measured: float
    low: float
    high: float
    sound: bool

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def main(words: list[str]) -> int:
    """Measure and write; the exit code."""
    quick = words == ["--quick"]
    times = Times(40, "12s", "6s", (0.4, 0.75)) if quick else Times(25, "20s", "20s")
    try:
        if words and not quick:
            raise BenchError(f"{' '.join(words)}: expected nothing, or --quick")
        if PROGRAM is None:
            raise BenchError(INSTALL)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "own" / "models").mkdir(parents=True)
            publish_waiting(Path(folder) / "own" / "models")
            found, series = _measure("waiting", Path(folder) / "own", times)
            parts = [_table("waiting", found)]
            if not quick:
                draw_curves(Path(folder) / "own")
                (Path(folder) / "cnn" / "models").mkdir(parents=True)
                (Path(folder) / "cnn" / "models" / "cnn").symlink_to((models_folder() / "cnn").resolve())
                parts.append(_table("cnn", _measure("cnn", Path(folder) / "cnn", times)[0]))
    except ConchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 3
    text = "\n\n".join([_head(series), *parts])
    sys.stdout.write(f"{text}\n")
    if not quick:
        write_section(PAGE, "size", text, title=None)
    return 1 if any(abs(one.error) > MOST_ERROR for one in found if one.load <= 0.8) else 0


def draw_curves(own: Path) -> None:
    """docs/scale.svg, of the profile of `waiting` in these artifacts."""
    words = [*["size", "waiting", "--rate", "5000", "--months", "0", "--promise"], PROMISE]
    command = [sys.executable, "-m", "conch", *words]
    environment = os.environ | {"CONCH_ARTIFACTS": str(own)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    if ended.returncode:
        raise BenchError(f"conch size: {' '.join(ended.stderr.split())[-300:]}")
    shutil.copy(own / "report" / "size" / "waiting.svg", PAGE.with_suffix(".svg"))


def _measure(model: str, own: Path, times: Times) -> tuple[list[Compared], int]:
    """The comparisons of a model, and how many series a server's metrics have."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(Server(own / "models", http_port=0, grpc_port=0, metrics_port=0)) for _ in range(2)
        ]
        metrics = urllib.request.urlopen(f"http://{servers[0].metrics}/metrics", timeout=10).read()
        series = sum(1 for line in metrics.decode().splitlines() if line and not line.startswith("#"))
        flags = ("--start", str(times.start), "--factor", "1.5", "--duration", times.curve)
        _load(own, servers[0].http, "profile", model, *flags)
        curve = read_curve(own / "report" / "load-profile" / f"{model}.json", 99)
        calibrated = calibrate(curve, 99)
        found = []
        for count, balancer in FLEETS:
            addresses = [server.http for server in servers[:count]]
            with haproxy(addresses, balancer, own / "haproxy") as address:
                fleet = (model, own, calibrated, address, count, balancer)
                found += [_compare(*fleet, load, times) for load in times.loads]
    return found, series


def _compare(
    model: str, own: Path, kind: Calibrated, address: str, count: int, balancer: Balancer, load: float, times: Times
) -> Compared:
    rate = round(count * load * kind.server.capacity, 1)
    _load(
        own,
        address,
        "run",
        model,
        "--rate",
        str(rate),
        "--duration",
        times.compared,
        "--promises",
        str(_promise(own, model)),
    )
    run: dict[str, Any] = json.loads((own / "report" / "load" / model / "run.json").read_text())
    latency = run["latency_ms"]
    low, high = latency["ci95"]["p99"]
    if run["failures"] or latency["p99"] is None:
        raise BenchError(
            f"{count} servers at {rate}/s: {run['failures']} of {run['requests']} requests failed, p99 {latency['p99']}"
        )
    predicted = simulate(kind.server, count, rate, 200_000, balancer, seed=1).percentile_ms(99)
    sound = all(check["ok"] for check in run["checks"] if check["name"] in ("cpu", "late", "pool"))
    return Compared(count, balancer, load, rate, predicted, latency["p99"], low, high, sound)


def _promise(own: Path, model: str) -> Path:
    path = own / "promises.json"  # which is YAML
    path.write_text(json.dumps({model: {"rate": 1, "error_rate": 0}}))
    return path


def _load(own: Path, address: str, *words: str) -> None:
    """Verdicts are not of interest here, so 0, 1 and 2 are all fine."""
    environment = os.environ | {"CONCH_ARTIFACTS": str(own), "CONCH_HTTP": address, "CONCH_METRICS": "127.0.0.1:1"}
    command = [sys.executable, "-m", "loadtest", *words]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    if ended.returncode > 2:
        raise BenchError(" ".join(ended.stderr.split())[-300:])


def _head(series: int) -> str:
    return (
        f"## Predicted and measured\n\nOne and two servers behind HAProxy, Poisson arrivals, p99 from the intended "
        f"time with its 95 % interval; predicted from the curve of one server without HAProxy. {describe_machine()}. A "
        f"server of one model has {series} series. Written by `make bench-size`."
    )


def _table(model: str, found: list[Compared]) -> str:
    below = [abs(one.error) for one in found if one.load <= 0.8]
    about = {
        "waiting": "`waiting`: a batch sleeps for 4 ms and 1 ms for each request in it, up to 8; one instance a server",
        "cnn": "`cnn`: computes on the cores that both servers, HAProxy and the generator share",
    }[model]
    lines = [
        f"{about}. Largest error {max(below):.0%}, within {MOST_ERROR:.0%} in "
        f"{sum(error <= MOST_ERROR for error in below)} of {len(below)}.",
        "",
        "| servers | balancer | load | requests/s | p99 predicted, ms | p99 measured, ms | error | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        doubt = "" if one.sound else "the generator was late or out of users"
        lines.append(
            f"| {one.servers} | {one.balancer.replace('_', ' ')} | {one.load:.0%} | {one.rate:.0f} | "
            f"{one.predicted:.2f} | {one.measured:.2f} [{one.low:.2f}, {one.high:.2f}] | {one.error:+.0%} | {doubt} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
