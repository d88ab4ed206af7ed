"""The load: the project's own load test (Locust), run as a program beside the server, in a closed loop.

A closed loop keeps a number of requests under way. That finds what a server can do at most; its latencies flatter a
server that stalls, for it is sent less meanwhile.
"""

import importlib.util
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from conch.command_line import program
from serving.errors import ServingError
from serving.server import processes

PROGRAM = "loadtest"
START_SECONDS = 60.0
"""What the program gets beyond the time of the load itself."""
BUSY_GENERATOR = 0.9
"""Share of a core above which the generator, not the server, may be what limits the requests."""
UNPACED = 1e6


@dataclass(frozen=True)
class Point:
    """One load on one configuration."""

    users: int
    """Requests under way at once."""
    requests_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    """None where too few requests were made to tell."""
    generator_cpu: float
    """Share of a core that the load generator's event loop used."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Self:
        return cls(**entry)


class LoadFailed(Exception):
    """The load showed nothing, or wrong answers; the message says what."""


def check_installed() -> None:
    """Raise a `ServingError` where the load test cannot run: `pip install conch` alone gives the clients only."""
    if importlib.util.find_spec("locust") is None or importlib.util.find_spec(PROGRAM) is None:
        raise ServingError(
            "tune makes its load with `conch load`, which needs Locust: pip install 'conch[cpu]' (or [gpu])"
        )


def run_load(addresses: dict[str, str], artifacts: Path, model: str, users: int, seconds: int) -> Point:
    """Load `model` for so many seconds (whole ones) and read what came of it.

    Args:
        addresses: CONCH_HTTP, CONCH_GRPC and CONCH_METRICS of the server, each "host:port".
        artifacts: A folder whose models/ has the golden answers, and that the results go to.

    Raises:
        LoadFailed: No answer, or a wrong one.
        ServingError: The load test cannot be run.
    """
    promises = artifacts / "promises.yaml"
    promises.write_text(json.dumps({model: {"rate": UNPACED, "error_rate": 0.0}}))  # JSON is YAML
    command = [
        *program(PROGRAM, "run", model), "--arrivals", "closed", "--users", str(users),
        "--rate", str(UNPACED), "--duration", f"{seconds}s", "--warmup", "1s",
        "--promises", str(promises), "--artifacts", str(artifacts),
    ]  # fmt: skip
    log = artifacts / "load.log"
    with log.open("wb") as output:
        process = processes.spawn(
            command, env={**os.environ, **addresses}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = process.wait(seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"the load test did not end within {seconds + START_SECONDS:g} s") from None
        finally:
            processes.stop(process, grace=5.0)
    if code not in (0, 1, 2):  # 1 and 2: a promise broken, or shown neither way; there are none here but right answers
        text = " ".join(log.read_text(errors="replace").split())
        raise ServingError(f"the load test cannot be run (exit code {code}): {text[-300:]}")
    return _point(json.loads((artifacts / "report" / "load" / model / "run.json").read_text()), users)


def _point(run: dict[str, Any], users: int) -> Point:
    if run["failures"] or not run["requests"]:
        reasons = "; ".join(f"{entry['error']} ({entry['count']} times)" for entry in run["errors"][:2])
        raise LoadFailed(f"{run['failures']} of {run['requests']} requests failed: {reasons or 'none was answered'}")
    latency = run["latency_ms"]
    return Point(users, run["requests_per_s"], latency["p50"], latency["p99"], run["generator"]["loop_cpu"])
