"""What an export gains: PyTorch eager, torch.compile, ONNX Runtime fp32 and int8, side by side.

    python -m tests.bench.export

The five published models at batch 1, 8 and 32, with 1 and 2 threads. Writes the section "export" of
docs/benchmarks.md and docs/benchmarks-export.png.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from conch.contracts.fingerprint import package_versions
from tests.bench.contenders import BATCHES, COMPILED, CONTENDERS, EAGER, FP32, INT8, MODELS, newest
from tests.bench.floors import FloorCheck, floor_checks, ratio
from tests.bench.machine import describe_machine
from tests.bench.rounds import ContenderFailed, contenders, race
from tests.bench.sections import write_section
from tests.bench.verdicts import Verdict, keep

OUT, ERR = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
THREADS = (1, 2)
DOCS = Path("docs")
COLOURS = {COMPILED: "#d1662b", FP32: "#2f6db3", INT8: "#3a8f5c"}
CELL_SECONDS = 2.2
SECONDS = 300
"""The longest that the run with one number of threads may take."""
BUSY = 0.7
"""The load average above which something else runs on the machine."""


def main() -> int:
    """Measure, write, and tell which floors are met; exit code 1 where nothing could be measured."""
    rows: list[dict[str, Any]] = []
    load = os.getloadavg()[0]
    if load > BUSY:
        ERR.print(f"[yellow]the machine is busy[/] (load {load:.1f}): PyTorch's threads suffer most from that, and the "
                  "figures will flatter ONNX Runtime; stop what else runs")  # fmt: skip
    try:
        for threads in THREADS:
            rows += measure(threads)
    except ContenderFailed as failed:
        ERR.print(f"[red]error:[/] with {threads} threads: {failed}; train and export all models first")
        return 1
    found = floor_checks(rows)
    write_plot(rows, DOCS / "benchmarks-export.png")
    write_section(DOCS / "benchmarks.md", "export", report(rows, found, load))
    keep(
        "export",
        [Verdict(f"{one.model}, {one.where}: {one.what}", one.required, one.measured, one.met) for one in found],
    )
    met = sum(verdict.met for verdict in found)
    OUT.print(f"{met} of {len(found)} floors met -> {DOCS / 'benchmarks.md'}")
    for verdict in found:
        if not verdict.met:
            OUT.print(f"[yellow]missed:[/] {verdict.model}, {verdict.where}: {verdict.what}: {verdict.measured}, "
                      f"{verdict.required}", highlight=False)  # fmt: skip
    return 0


def measure(threads: int) -> list[dict[str, Any]]:
    """A row for each model and batch: the timing of each contender in ms, and the files' sizes in bytes."""
    rows: list[dict[str, Any]] = []
    with contenders(CONTENDERS, threads, SECONDS) as running:
        for model, batch in track(list(product(MODELS, BATCHES)), f"{threads} threads", console=ERR):
            files = {FP32: newest(model), INT8: newest(f"{model}_int8")}
            rows.append({
                "model": model, "batch": batch, "threads": threads,
                "ms": {name: asdict(timing) for name, timing in race(running, model, batch, CELL_SECONDS).items()},
                "bytes": {name: path.stat().st_size for name, path in files.items() if path},
            })  # fmt: skip
    return rows


def report(rows: list[dict[str, Any]], found: list[FloorCheck], load: float) -> str:
    """The section as Markdown; `load` is the machine's load average of the minute before."""
    versions = package_versions("torch", "onnxruntime", "numpy")
    met = sum(verdict.met for verdict in found)
    lines = [
        "## Export: PyTorch against ONNX Runtime",
        "",
        f"`make bench-export`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")
        + f"; load of the minute before: {load:.2f}.",
        "",
        "Milliseconds of one call, pre- and post-processing included: median of alternating rounds, each contender in "
        "a process of its own, in brackets the distance between the quartiles. Bold is the fastest. int8 is the "
        "published variant.",
    ]  # fmt: skip
    for threads in THREADS:
        lines += ["", f"### {threads} thread{'s' * (threads > 1)}", ""]
        lines += [f"| model | batch | {' | '.join(CONTENDERS)} | fp32 / eager | fp32 / compile | int8 / fp32 |"]
        lines += ["|---|---:|" + "---:|" * (len(CONTENDERS) + 3)]
        lines += [_line(row) for row in rows if row["threads"] == threads]
    lines += [
        "",
        "![Speed against PyTorch eager](benchmarks-export.png)",
        "",
        f"### Floors: {met} of {len(found)} met",
        "",
    ]
    lines += ["| model | where | what | required | measured | |", "|---|---|---|---|---:|---|"]
    lines += [
        f"| {one.model} | {one.where} | {one.what} | {one.required} | {one.measured} | "
        + ("met |" if one.met else "**missed** |")
        for one in found
    ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    times = row["ms"]
    fastest = min(times, key=lambda name: times[name]["median"])
    cells = []
    for name in CONTENDERS:
        if name not in times:
            cells.append("not published")
            continue
        one = times[name]
        median = f"**{one['median']:.3f}**" if name == fastest else f"{one['median']:.3f}"
        cells.append(f"{median} ({one['high'] - one['low']:.3f})")
    factors = [ratio(row, EAGER, FP32), ratio(row, COMPILED, FP32), ratio(row, FP32, INT8)]
    cells += ["-" if factor is None else f"{factor:.2f}" for factor in factors]
    return f"| {row['model']} | {row['batch']} | {' | '.join(cells)} |"


def write_plot(rows: list[dict[str, Any]], path: Path) -> None:
    """How many times as fast as PyTorch eager: a panel a model and number of threads, bars a batch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.4), layout="constrained", dpi=110)
    panels = figure.subplots(len(THREADS), len(MODELS), sharey="row")
    for line, threads in zip(panels, THREADS, strict=True):
        for axes, model in zip(line, MODELS, strict=True):
            chosen = {row["batch"]: row for row in rows if (row["model"], row["threads"]) == (model, threads)}
            for offset, name in enumerate(COLOURS):
                heights = [ratio(chosen[batch], EAGER, name) or 0 for batch in BATCHES]
                places = [index + (offset - 1) * 0.27 for index in range(len(BATCHES))]
                axes.bar(places, heights, 0.25, label=name, color=COLOURS[name])
            axes.axhline(1, color="#5f6b76", linewidth=1)
            axes.set_xticks(range(len(BATCHES)), [str(batch) for batch in BATCHES])
            axes.set_title(f"{model}, {threads} thread{'s' * (threads > 1)}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("times as fast as eager")
    panels[-1][2].set_xlabel("batch")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
