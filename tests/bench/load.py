"""What one core of load generator can do: python -m tests.bench.load, or make bench-load.

Serves artifacts/models on one core and makes load from another, and writes the marked section of docs/benchmarks.md.
Exit code 1: it is less than promised there. 3: it could not be measured. Takes about a minute and a half.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from conch.contracts.artifacts import models_folder
from conch.contracts.errors import ConchError
from loadtest.outcome import machine
from serving.server.server import Server
from tests.bench.sections import write_section
from tests.bench.verdicts import Verdict, keep

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
USERS = 32
SECONDS = "8s"
LEAST = {"http": 2500, "grpc": 1500}  # requests/s
MOST_LATE = 0.01  # share, at half of those


class BenchError(ConchError):
    """It could not be measured; the message is one line."""


@dataclass(frozen=True)
class Figures:
    """Of one protocol: requests/s of a closed loop, and the sends of an open loop at half of what is promised."""

    closed_per_s: float
    open_per_s: float
    late_share: float
    lag_p50_ms: float | None
    loop_cpu: float


def main() -> int:
    """Measure and write; the exit code."""
    console = Console(stderr=True)
    cores = sorted(os.sched_getaffinity(0))
    try:
        if len(cores) < 2:
            raise BenchError("two cores are needed, one for the server and one for the load generator")
        models = models_folder()
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder)
            (own / "models").symlink_to(models.resolve())
            os.sched_setaffinity(0, {cores[0]})  # the server inherits it
            with Server(models, http_port=0, grpc_port=0, metrics_port=0) as server:
                found = {protocol: _measure(server, own, protocol, cores[1]) for protocol in LEAST}
                plain = _plain(server, own, cores[1])
        os.sched_setaffinity(0, cores)
    except ConchError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 3
    text = section(found, plain, machine())
    write_section(PAGE, "load", text)
    Console().print(text, markup=False, highlight=False)
    verdicts = judged(found)
    keep("load", verdicts)
    for verdict in verdicts:
        if not verdict.met:
            console.print(f"{verdict.what}: {verdict.measured}, required {verdict.required}", highlight=False)
    return 0 if all(verdict.met for verdict in verdicts) else 1


def judged(found: dict[str, Figures]) -> list[Verdict]:
    """Two floors of each protocol."""
    verdicts = []
    for protocol, one in found.items():
        least = LEAST[protocol]
        verdicts += [
            Verdict(f"{protocol}, closed loop, requests/s", f"at least {least:,}", f"{one.closed_per_s:,.0f}",
                    one.closed_per_s >= least),
            Verdict(f"{protocol}, late sends at half of that", f"less than {MOST_LATE:.0%}", f"{one.late_share:.2%}",
                    one.late_share < MOST_LATE),
        ]  # fmt: skip
    return verdicts


def section(found: dict[str, Figures], plain_per_s: float, where: dict[str, Any]) -> str:
    """The section's Markdown."""
    lines = [
        "## One core of load generator",
        "",
        f"`cnn`, one image a request, on loopback; server on one core, generator on another ({where['cpu']}, "
        f"{where['cores']} cores). Closed loop: {USERS} users, each asking again when answered. Open loop: Poisson "
        "arrivals at half of what is required of the closed one; late is more than 1 ms after the intended time. "
        "Written by `make bench-load`.",
        "",
        "| | closed loop, requests/s | required | open loop, requests/s | late sends | median delay of a send |"
        " event loop's CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for protocol, figures in found.items():
        delay = "n too small" if figures.lag_p50_ms is None else f"{figures.lag_p50_ms:.3f} ms"
        lines.append(
            f"| {protocol}, every answer compared | {figures.closed_per_s:,.0f} | {LEAST[protocol]:,} | "
            f"{figures.open_per_s:,.0f} | {figures.late_share:.2%} | {delay} | {figures.loop_cpu:.0%} |"
        )
    lines.append(f"| Locust's FastHttpUser, same bytes, nothing compared | {plain_per_s:,.0f} | | | | | |")
    return "\n".join(lines)


def _measure(server: Server, own: Path, protocol: str, core: int) -> Figures:
    closed = _load(
        server, own, core, "--protocol", protocol, "--arrivals", "closed", "--users", str(USERS), "--rate", "1e6"
    )
    opened = _load(server, own, core, "--protocol", protocol, "--rate", str(LEAST[protocol] / 2))
    generator = opened["generator"]
    return Figures(
        closed["requests_per_s"],
        opened["requests_per_s"],
        generator["late_share"],
        opened["lag_ms"]["p50"],
        generator["loop_cpu"],
    )


def _load(server: Server, own: Path, core: int, *flags: str) -> dict[str, Any]:
    result = own / "report" / "load" / "cnn" / "run.json"
    result.unlink(missing_ok=True)
    _run(server, own, core, "loadtest", "run", "cnn", "--duration", SECONDS, *flags)
    run: dict[str, Any] = json.loads(result.read_text())
    if run["failures"] or not run["requests"]:
        raise BenchError(f"{run['failures']} of {run['requests']} requests failed")
    return run


def _plain(server: Server, own: Path, core: int) -> float:
    flags = ("--headless", "--only-summary", "-u", str(USERS), "-r", str(USERS), "-t", SECONDS, "--json", "-L", "ERROR")
    output = _run(server, own, core, "locust", "-f", "tests/bench/fast_http_user.py", *flags)
    (entry,) = json.loads(output[output.index("[") :])
    if entry["num_failures"] or not entry["num_requests"]:
        raise BenchError(f"FastHttpUser: {entry['num_failures']} of {entry['num_requests']} requests failed")
    return float(entry["num_requests"] / (entry["last_request_timestamp"] - entry["start_time"]))


def _run(server: Server, own: Path, core: int, module: str, *arguments: str) -> str:
    """Run it on one core; its output. Verdicts are not of interest here, so 0, 1 and 2 are all fine."""
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PAGE.parents[1],
        env=os.environ | {"CONCH_ARTIFACTS": str(own)} | addresses,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if ended.returncode > 2:
        raise BenchError(" ".join(ended.stderr.split())[-300:])
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
