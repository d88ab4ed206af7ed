"""All benchmarks that train nothing, one after the other, and a page with a verdict for each floor: make bench

Takes 20 minutes at most, on a machine that does nothing else; a benchmark that would not end in time is left out and
named. Each also writes its own section of docs/benchmarks.md. Exit code 1: a floor is missed. 3: one was not measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from conch.command_line import OUT
from conch.command_line import run as run_command
from conch.contracts.artifacts import models_folder
from conch.contracts.errors import ConchError
from conch.contracts.whole import write_whole
from tests.bench.machine import describe_machine
from tests.bench.verdicts import Verdict, folder, kept

PEERS = Path(".venv-bench")
TAIL = 200


@dataclass(frozen=True)
class Bench:
    """A benchmark: the words behind `python -m`, what it takes, and what it needs to be there."""

    name: str
    words: tuple[str, ...]
    seconds: int
    """The longest that it may take; it is not begun with less left."""
    models: tuple[str, ...] = ()
    wrk: bool = False
    peers: bool = False


FIVE = ("autoencoder", "cnn", "gan", "lstm", "resnet")
BENCHES = (
    Bench("load", ("tests.bench.load",), 150, ("cnn",)),
    Bench("overload", ("tests.bench.serving.overload",), 240),
    Bench("memory", ("tests.bench.serving.memory",), 120, ("cnn",), wrk=True),
    Bench("clients", ("tests.bench.clients",), 270, wrk=True),
    Bench("export", ("tests.bench.export",), 300, FIVE),
    Bench(
        "serving", ("tests.bench.serving", "--models", "cnn", "resnet", "--limit", "5"), 360, ("cnn", "resnet"),
        wrk=True, peers=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What came of one: its verdicts, or why there are none."""

    bench: str
    verdicts: tuple[Verdict, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Settings:
    """What is run, and for how long."""

    benches: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """By name; all where none is given."""

    minutes: float = 20.0
    """Of all together."""


def main() -> int:
    """Run the command."""
    return run_command(lambda: run(tyro.cli(Settings, prog="make bench", description=__doc__)), failed=3)


def run(settings: Settings) -> int:
    """Run them, write the page, and give the exit code."""
    if unknown := set(settings.benches) - {bench.name for bench in BENCHES}:
        raise ConchError(f"no benchmark {min(unknown)!r}; there are: {', '.join(bench.name for bench in BENCHES)}")
    load, deadline = os.getloadavg()[0], time.monotonic() + settings.minutes * 60
    chosen = [bench for bench in BENCHES if not settings.benches or bench.name in settings.benches]
    found = [measure(bench, lambda: deadline - time.monotonic()) for bench in chosen]
    page = folder() / "index.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, report(found, load).encode())
    _show(found)
    OUT.print(f"-> {page}", markup=False, highlight=False)
    if any(one.why_not for one in found):
        return 3
    return 0 if all(verdict.met for one in found for verdict in one.verdicts) else 1


def measure(bench: Bench, left: Callable[[], float]) -> Found:
    """One benchmark, in a process of its own that is ended after its time."""
    if reason := missing(bench):
        return Found(bench.name, why_not=reason)
    if left() < bench.seconds:
        return Found(bench.name, why_not=f"takes {bench.seconds} s, {max(0, left()):.0f} s were left")
    OUT.print(f"{bench.name}: {bench.seconds} s at most", style="dim")
    (folder() / f"{bench.name}.json").unlink(missing_ok=True)  # what it keeps is of this run
    # gRPC's own fork handlers break its poller when wrk is started.
    environment = os.environ | {"GRPC_ENABLE_FORK_SUPPORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", *bench.words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=bench.seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # so that it ends its servers
        process.communicate()
        return Found(bench.name, why_not=f"took longer than {bench.seconds} s")
    if (verdicts := kept(bench.name)) is None:
        words = " ".join(said.split())[-TAIL:]
        return Found(bench.name, why_not=f"ended with {process.returncode}: {words}")
    return Found(bench.name, tuple(verdicts))


def missing(bench: Bench) -> str:
    """What it needs and is not there; empty where all is."""
    if bench.wrk and not shutil.which("wrk"):
        return "needs wrk: apt-get install wrk"
    if bench.peers and not PEERS.is_dir():
        return f"needs the other servers in {PEERS}: make bench-serving makes it"
    absent = [model for model in bench.models if not (models_folder() / model).is_dir()]
    return f"needs {', '.join(absent)} in {models_folder()}: make demo" if absent else ""


def report(found: list[Found], load: float) -> str:
    """The page as Markdown; `load` is the machine's load average of the minute before."""
    verdicts = [verdict for one in found for verdict in one.verdicts]
    lines = [
        "# Benchmarks: the floors",
        "",
        f"`make bench`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}; load of the minute before: {load:.2f}. "
        f"{sum(verdict.met for verdict in verdicts)} of {len(verdicts)} floors are met.",
        "",
        "| benchmark | what | required | measured | |",
        "|---|---|---|---:|---|",
    ]
    for one in found:
        lines += [
            f"| {one.bench} | {verdict.what} | {verdict.required} | {verdict.measured} | {_word(verdict)} |"
            for verdict in one.verdicts
        ]
        if one.why_not:
            lines.append(f"| {one.bench} | | | | **not measured**: {one.why_not} |")
    return "\n".join(lines) + "\n"


def _word(verdict: Verdict) -> str:
    return "met" if verdict.met else "**missed**"


def _show(found: list[Found]) -> None:
    table = Table("benchmark", "what", "required", "measured", "verdict")
    for one in found:
        for verdict in one.verdicts:
            word = "met" if verdict.met else "missed"
            table.add_row(one.bench, verdict.what, verdict.required, verdict.measured, word)
        if one.why_not:
            table.add_row(one.bench, "", "", "", f"not measured: {one.why_not}")
    OUT.print(table)


if __name__ == "__main__":
    sys.exit(main())
