"""Does serving need more and more memory? 100,000 requests of mixed batch sizes, and the server's resident size.

    python -m tests.bench.serving.memory

Writes the section "memory" of docs/benchmarks.md. Exit code 1 where the size moved by 5 % or more.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from serving.server.server import Server
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section
from tests.bench.serving.contenders import copy_models, infer_call, read_subjects
from tests.bench.serving.wrk import InvalidRound, drive
from tests.bench.verdicts import Verdict, keep

MODEL = "cnn"
REQUESTS = 100_000
SETTLED = 5_000
"""Requests after which arenas and pools have their size."""
SIZES = tuple(range(1, 33))
AT_ONCE, CONNECTIONS = 4, 4
"""Batch sizes under way at once, and the connections of each."""
MOST_GROWTH = 0.05
PAGE = Path("docs/benchmarks.md")

Sizes = Mapping[str, int]
"""Resident bytes by process."""


def main() -> int:
    """Measure and write."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        points = measure(console)
    except (InvalidRound, ConchError) as error:
        console.print(f"error: {error}", markup=False)
        return 1
    growth = moved(points)
    write_section(PAGE, "memory", report(points, growth))
    most = f"less than {MOST_GROWTH:.0%}"
    keep("memory", [Verdict("size of a process over 100,000 requests", most, f"{growth:.1%}", growth < MOST_GROWTH)])
    console.print(f"moved by {growth:.1%} -> {PAGE}")
    return 0 if growth < MOST_GROWTH else 1


def measure(console: Console) -> list[tuple[int, Sizes]]:
    """Requests answered so far, and the sizes then: at the start, once settled, and a few times until the end."""
    (subject,) = read_subjects(artifacts_folder() / "models", [MODEL])
    chosen = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="conch-bench-") as folder:
        copy_models([subject], Path(folder))
        with (
            Server(Path(folder), http_port=0, grpc_port=0, metrics_port=0) as server,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            points: list[tuple[int, Sizes]] = [(0, resident(server.pid))]
            done = 0
            while done < REQUESTS:
                calls = [
                    infer_call(server.http, replace(subject, image=np.repeat(subject.image, size, axis=0)))
                    for size in chosen.sample(SIZES, AT_ONCE)
                ]
                done += round(
                    sum(one.requests_per_s for one in pool.map(lambda call: drive(call, CONNECTIONS, 1), calls))
                )
                if done >= SETTLED:
                    points.append((done, resident(server.pid)))
                console.print(f"{done:,} requests, {sum(points[-1][1].values()) / 2**20:.1f} MiB")
    return points


def resident(pid: int) -> dict[str, int]:
    """Of the server and of each of its backend's processes."""
    server = psutil.Process(pid)
    backends = [child for child in server.children(recursive=True) if "stub" in child.name() or "stub" in child.exe()]
    sizes = {"tritonserver": server.memory_info().rss}
    return sizes | {f"backend {number}": child.memory_info().rss for number, child in enumerate(backends, 1)}


def moved(points: list[tuple[int, Sizes]]) -> float:
    """The largest share by which a process's size changed from the first point after settling to any later one."""
    _, settled = points[1]
    return max(abs(sizes[name] / settled[name] - 1) for _, sizes in points[2:] for name in settled)


def report(points: list[tuple[int, Sizes]], growth: float) -> str:
    """The section's Markdown."""
    shown = [points[0], points[1], points[len(points) // 2], points[-1]]
    names = list(points[0][1])
    lines = [
        "## Memory of the server",
        "",
        f"`make bench-memory`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}: `{MODEL}`, requests of "
        f"{SIZES[0]} to {SIZES[-1]} images, {AT_ONCE} sizes at once on {CONNECTIONS} connections each. Resident MiB.",
        "",
        "| requests | " + " | ".join(names) + " |",
        "|---:|" + "---:|" * len(names),
    ]
    lines += [
        f"| {done:,} | " + " | ".join(f"{sizes[name] / 2**20:.1f}" for name in names) + " |" for done, sizes in shown
    ]
    lines += [
        "",
        f"From the second row on, the size of no process moved by more than {growth:.1%} (required: less than "
        f"{MOST_GROWTH:.0%}).",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
