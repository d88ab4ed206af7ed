"""The section "serving" of docs/benchmarks.md and its plot."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.machine import describe_machine
from tests.bench.serving.contenders import BENTOML, CONCH, FASTAPI_1, FASTAPI_2, LITSERVE, PYTRITON
from tests.bench.serving.floors import FloorCheck, throughput
from tests.bench.serving.measure import IN_PROCESS, Measured

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
COLOURS = {
    CONCH: "#2f6db3", PYTRITON: "#d1662b", FASTAPI_1: "#a9c7b5", FASTAPI_2: "#3a8f5c", LITSERVE: "#8a6bb0",
    BENTOML: "#b0413e",
}  # fmt: skip
HOW = """
`wrk` keeps as many requests under way as it has connections (a closed loop), each one image, and takes one thread of
the machine's cores: server and load share them, which costs the fastest server most. Every contender is started, its
answer checked, warmed up, driven and stopped in each round; a status other than 2xx or a socket error makes its round
invalid. All run the same ONNX file with the same ONNX Runtime and one thread a session: Conch as published (2
instances, batches to 32), PyTriton with `@batch`, 2 instances and the same batching; FastAPI on uvicorn without
batching, raw bytes both ways; LitServe and BentoML with 2 workers and batches to 32, JSON both ways, which is what they
offer. "In process" is ONNX Runtime alone, two processes of one session of one thread at the best batch size, with
neither server nor load beside it.
""".strip().replace("\n", " ")  # fmt: skip


def report(measured: Measured, found: list[FloorCheck], models: list[str], connections: list[int], load: float) -> str:
    """The section as Markdown; `load` is the machine's load average of the minute before."""
    met = sum(verdict.met for verdict in found)
    lines = [
        "## Serving: Conch against its peers",
        "",
        f"`make bench-serving`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}; {', '.join(_versions())}; "
        f"load of the minute before: {load:.2f}.",
        "",
        HOW,
        "",
        f"Requests/s and, in brackets, the 99th percentile of the latency in ms: medians of {measured.rounds} "
        "alternating rounds (the valid ones). Bold is the most.",
    ]
    for model in models:
        ceiling = throughput(measured, IN_PROCESS, model, 0)
        beside = f" (in process: {ceiling:,.0f} images/s)" if ceiling else ""
        lines += ["", f"### {model}{beside}", ""]
        lines += ["| served by | " + " | ".join(_connections(count) for count in connections) + " |"]
        lines += ["|---|" + "---:|" * len(connections)]
        best = {
            count: max((throughput(measured, name, model, count) or 0) for name in COLOURS) for count in connections
        }
        for name in COLOURS:
            cells = [_cell(measured, name, model, count, best[count]) for count in connections]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "![Requests a second of each server](benchmarks-serving.png)", ""]
    lines += [f"### Floors: {met} of {len(found)} met", ""]
    lines += ["| model | connections | against | required | measured | |", "|---|---:|---|---:|---:|---|"]
    for verdict in found:
        floor = verdict.floor
        factor = "not measured" if verdict.factor is None else f"{verdict.factor:.2f} times"
        ending = "met" if verdict.met else "**missed**"
        lines.append(
            f"| {floor.model} | {floor.connections} | {floor.peer} | {floor.factor:.2f} times | {factor} | {ending} |"
        )
    if measured.invalid:
        lines += ["", "Left out as invalid:", "", *(f"* {reason}" for reason in measured.invalid)]
    return "\n".join(lines)


def write_plot(measured: Measured, models: list[str], connections: list[int], path: Path) -> None:
    """Requests/s on a log axis: a panel a model, a group of bars a number of connections; the ceiling is a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(models), 4.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    names = [name for name in COLOURS if any(key[0] == name for key in measured.samples)]
    width = 0.85 / max(1, len(names))
    for axes, model in zip(panels, models, strict=True):
        for place, name in enumerate(names):
            heights = [throughput(measured, name, model, count) or 0 for count in connections]
            places = [index + (place - (len(names) - 1) / 2) * width for index in range(len(connections))]
            axes.bar(places, heights, width * 0.92, label=name, color=COLOURS[name])
        if ceiling := throughput(measured, IN_PROCESS, model, 0):
            axes.axhline(ceiling, color="#5f6b76", linewidth=1, linestyle="--", label=IN_PROCESS)
        axes.set_xticks(range(len(connections)), [_connections(count) for count in connections])
        axes.set_yscale("log")
        axes.set_title(model, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("requests/s")
    figure.legend(*_legend(panels[0]), loc="outside upper center", ncols=len(names) + 1, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _legend(axes: Any) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    return handles, labels


def _cell(measured: Measured, name: str, model: str, count: int, best: float) -> str:
    samples = measured.samples.get((name, model, count), [])
    if not samples:
        return "not measured"
    rate = median(sample.requests_per_s for sample in samples)
    shown = f"**{rate:,.0f}**" if rate == best else f"{rate:,.0f}"
    return f"{shown} ({median(sample.p99_ms for sample in samples):.1f})"


def _connections(count: int) -> str:
    return f"{count} connection{'s' * (count > 1)}"


def _versions() -> list[str]:
    """The peers and what they run on, with their versions."""
    named = REQUIREMENTS.read_text().split("# What those need.")[0].splitlines()
    return [line.replace("==", " ") for line in named if "==" in line] + [f"Python {sys.version.split()[0]}"]
