"""What a server does with several times what it can answer: half a minute of it over each protocol.

    python -m tests.bench.serving.overload

Writes the section "overload" of docs/benchmarks.md. Exit code 1 where the promise was not kept to those who were
served, memory grew, or requests failed two seconds after it; 2 where less than three times what was answered was sent.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from conch.contracts.errors import ConchError
from serving.server.server import Server
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section
from tests.bench.verdicts import Verdict, keep
from tests.support.overload import CALM_S, Overload, overload, publish_slow, quantile

MODEL, P99_MS, SECONDS, FACTOR = "slow", 1000.0, 30, 3.0
MOST_GROWTH_MIB = 16.0
PAGE = Path("docs/benchmarks.md")


def main() -> int:
    """Measure and write."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        found = measure()
    except ConchError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    write_section(PAGE, "overload", report(found))
    promise = f"p99 at most {P99_MS:g} ms, the rest refused, over when it is over"
    keep("overload", [Verdict(name, promise, f"p99 {one.p99_ms:.0f} ms", kept(one)) for name, one in found.items()])
    console.print(f"-> {PAGE}")
    if any(one.sent < FACTOR * one.served for one in found.values()):
        console.print(f"the load was less than {FACTOR:g} times what was answered")
        return 2
    return 0 if all(kept(one) for one in found.values()) else 1


def measure() -> dict[str, Overload]:
    """One overload of each protocol."""
    with tempfile.TemporaryDirectory(prefix="conch-bench-") as folder:
        os.environ["CONCH_ARTIFACTS"] = folder  # where the promise is looked for
        publish_slow(Path(folder), MODEL, P99_MS)
        with Server(Path(folder) / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
            return {
                protocol: overload(server, Path(folder), MODEL, protocol, FACTOR, SECONDS)
                for protocol in ("http", "grpc")
            }


def kept(found: Overload) -> bool:
    """Whether those who were served were served in time, the rest was refused, and it was over when it was over."""
    before, after = found.memory()
    nobody_else = found.part["failures"] == found.part["refused"]
    return found.p99_ms <= P99_MS and nobody_else and after - before < MOST_GROWTH_MIB and late_failures(found) == 0


def late_failures(found: Overload) -> int:
    """Requests that failed two seconds after it or later."""
    return found.counted(CALM_S + found.seconds + 2, CALM_S * 2 + found.seconds)[1]


def report(found: dict[str, Overload]) -> str:
    """The section's Markdown."""
    lines = [
        "## More than it can answer",
        "",
        f"`make bench-overload`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}: a model of some "
        f"milliseconds an item, published under a p99 of {P99_MS:g} ms, and {SECONDS} s of Poisson arrivals at several "
        "times what it answers. Rates are requests a second; latencies from the intended send, of what was answered.",
        "",
        "| | alone | planned | sent | answered | sent / answered | p50 ms | p99 ms | refused | other failures "
        "| MiB before, after | failures 2 s after it |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for protocol, one in found.items():
        before, after = one.memory()
        times = one.counted(CALM_S, CALM_S + one.seconds)[2]
        lines.append(
            f"| {protocol} | {one.capacity:.0f} | {one.planned:.0f} | {one.sent:.0f} | {one.served:.0f} "
            f"| {one.sent / one.served:.1f} | {quantile(times, 0.5):.0f} | {one.p99_ms:.0f} | {one.part['refused']:,} "
            f"| {one.part['failures'] - one.part['refused']} | {before:.1f}, {after:.1f} | {late_failures(one)} |"
        )
    verdict = "kept" if all(map(kept, found.values())) else "not kept"
    return "\n".join([*lines, "", f"The promise to those who were served was {verdict}."])


if __name__ == "__main__":
    sys.exit(main())
