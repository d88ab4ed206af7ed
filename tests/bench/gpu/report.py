"""docs/benchmarks-gpu.md, from whatever is measured so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.gpu.floors import Cells, fastest, floor_checks, graphs_against_compiled
from tests.bench.gpu.limits import limit
from tests.bench.gpu.plan import (
    BATCHES,
    CONCURRENCY,
    CONTENDERS,
    MODELS,
    PRECISIONS,
    TRANSPORTS,
    InProcess,
    OverTheWire,
)
from tests.bench.gpu.results import Results

HOW = """
Written by `make bench-gpu`; `python -m tests.bench.gpu --help` says how to measure it in parts, which add up, and
`--dry-run` runs all that runs without a GPU.
""".strip().replace("\n", " ")
UNMEASURED = """
**No figure was measured yet.** The machine that this was written on has no GPU. The commands ran there with
`--dry-run`: every model was exported in both precisions, resnet50 and cnn ran whole on the CPU, the others in part. The
tables are those that `make bench-gpu` fills in.
""".strip().replace("\n", " ")
IN_PROCESS = """
Milliseconds of one call with pre- and post-processing, from inputs on the device to outputs on the device, waited for:
median of alternating rounds, in brackets the distance between the quartiles; each contender is in a process of its own,
and its first answer is compared with the CPU's. Bold is the fastest. fp32 is without TF32 in all of them. PyTorch's
convolutions are channels last; torch.compile is `max-autotune`, CUDA graphs included, one compilation a batch size.
ONNX Runtime has its inputs and outputs bound on the device and cuDNN's exhaustive search; NHWC is its layout
channels last (`prefer_nhwc`). fp16 is PyTorch's module in half precision and the exporter's fp16 file, whose sums and
softmax stay in fp32; of the LSTM only the weights are fp16. "Limit" is the least time that the device's measured
arithmetic and bandwidth allow for the operators with weights, and which of both it is; a model that fits into the
device's cache can be faster than its memory.
""".strip().replace("\n", " ")
SERVED = """
Requests a second of one item each, in brackets the 99th percentile of the latency in ms: callers that wait for their
answer before they ask again, on the same machine's other cores, three rounds. Two instances, batches formed by the
server, CUDA graphs where the shapes are fixed (not for the LSTM). Shared memory: tensors stay where caller and server
both see them, and gRPC says where.
""".strip().replace("\n", " ")


def report(results: Results) -> str:
    """The page as Markdown; what is not measured is shown as such."""
    parts = ["# Benchmarks on a GPU", HOW, _machine(results), *_floors(results.cells)]
    if not results.cells:
        return "\n\n".join([*parts, *_plan()]) + "\n"
    parts += ["## In process", IN_PROCESS]
    parts += [_table(results, model, precision) for model in MODELS for precision in PRECISIONS]
    parts += ["### Utilisation and memory", _use(results.cells), "## Served", SERVED]
    parts += [_served(results.cells, model, precision) for model in MODELS for precision in PRECISIONS]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(results: Results) -> str:
    if not results.cells:
        return UNMEASURED
    gpu, versions = results.machine["gpu"], results.machine["versions"]
    dates = sorted({cell["date"] for cell in results.cells.values()})
    peaks = results.device
    return (
        f"{gpu['name']}, {gpu['memory.total']} MiB, driver {gpu['driver_version']}, {gpu['power.limit']} W and "
        f"{gpu['clocks.max.sm']} MHz at the most; {results.machine['processor']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; commit {results.machine['commit']}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. "
        + f"Measured on the device: {peaks['flops_fp32'] / 1e12:.1f} TFLOP/s in fp32 without TF32, "
        + f"{peaks['flops_fp16'] / 1e12:.1f} in fp16 (matrix products of 8192), {peaks['bytes'] / 1e12:.2f} TB/s "
        + "(a copy, read and written)."
    )


def _floors(cells: Cells) -> Iterator[str]:
    found = floor_checks(cells)
    measured = [one for one in found if one.met is not None]
    yield f"## Floors: {sum(bool(one.met) for one in found)} of {len(found)} met, {len(measured)} measured"
    words = {True: "met", False: "**missed**", None: "not measured"}
    lines = ["| floor | required | measured | |", "|---|---:|---:|---|"]
    for one in found:
        shown = "-" if one.measured is None else f"{one.measured:.2f}"
        lines.append(f"| {one.what} | {one.least:.1f} times | {shown} | {words[one.met]} |")
    yield "\n".join(lines)


def _plan() -> Iterator[str]:
    yield "## What is measured"
    yield IN_PROCESS
    yield (
        f"{', '.join(MODELS[:-1])} and {MODELS[-1]} (224x224, random weights), {' and '.join(PRECISIONS)}, batch "
        f"{', '.join(str(batch) for batch in BATCHES)}: {'; '.join(CONTENDERS)}. Beside them the device's utilisation, "
        "memory, power and clock."
    )
    yield SERVED
    yield (
        f"The same models and precisions over {'; '.join(TRANSPORTS)}; "
        f"{', '.join(str(count) for count in CONCURRENCY)} callers."
    )


def _table(results: Results, model: str, precision: str) -> str:
    rows = [InProcess(model, precision, batch) for batch in BATCHES]
    if not any(row.key in results.cells for row in rows):
        return f"### {model}, {precision}\n\nNot measured."
    lines = [f"### {model}, {precision}", ""]
    lines += [f"| batch | {' | '.join(CONTENDERS)} | graphs / compile | items/s | limit | share of it |"]
    lines += ["|---:|" + "---:|" * (len(CONTENDERS) + 4)]
    reasons: dict[str, str] = {}
    for row in rows:
        cell = results.cells.get(row.key, {})
        best, ratio = fastest(results.cells, row), graphs_against_compiled(results.cells, row)
        shown = [_timing(cell, name, best) for name in CONTENDERS]
        shown.append("-" if ratio is None else f"{ratio:.2f}")
        shown.append("-" if best is None else f"{row.batch * 1000 / best:,.0f}")
        if best is not None and model in results.models:
            bound = limit(results.models[model]["item"], precision, row.batch, results.device)
            shown += [f"{bound.ms:.3g} ms, {bound.bound}", f"{bound.ms / best:.0%}"]
        else:
            shown += ["-", "-"]
        lines.append(f"| {row.batch} | {' | '.join(shown)} |")
        reasons |= {name: f"batch {row.batch}: {why}" for name, why in cell.get("why", {}).items()}
    lines += ["", *(f"* {name}: no figure, {why}" for name, why in reasons.items())] if reasons else []
    return "\n".join(lines)


def _timing(cell: Mapping[str, Any], name: str, best: float | None) -> str:
    timing = cell.get("ms", {}).get(name)
    if timing is None:
        return "none" if name in cell.get("why", {}) else "not measured"
    median = f"{timing['median']:.3f}"
    return f"{f'**{median}**' if timing['median'] == best else median} ({timing['high'] - timing['low']:.3f})"


def _use(cells: Cells) -> str:
    lines = [
        "| cell | contender | busy | power | clock | memory of its process, all batches |",
        "|---|---|" + "---:|" * 4,
    ]
    for key, cell in cells.items():
        if "memory" not in cell:
            continue
        for name, use in cell.get("use", {}).items():
            shown = [_known(use, what, unit) for what, unit in (("utilization.gpu", "%"), ("power.draw", "W"))]
            memory = f"{cell['memory'][name] / 2**20:,.0f} MiB" if name in cell["memory"] else "-"
            clock = _known(use, "clocks.sm", "MHz")
            lines.append(f"| {key.removeprefix('in process, ')} | {name} | {' | '.join(shown)} | {clock} | {memory} |")
    return "\n".join(lines) if len(lines) > 2 else "Not measured."


def _known(use: Mapping[str, float], name: str, unit: str) -> str:
    return f"{use[name]:.0f} {unit}" if name in use else "-"


def _served(cells: Cells, model: str, precision: str) -> str:
    lines = [f"### {model}, {precision}, served", ""]
    lines += ["| transport | " + " | ".join(f"{count} at once" for count in CONCURRENCY) + " | busy at the most |"]
    lines += ["|---|" + "---:|" * (len(CONCURRENCY) + 1)]
    reasons = []
    for transport in TRANSPORTS:
        found = [cells.get(OverTheWire(model, precision, transport, count).key) for count in CONCURRENCY]
        shown = []
        for cell in found:
            if cell is None:
                shown.append("not measured")
            elif "why" in cell:
                shown.append("none")
                reasons.append(f"* {cell['why']}")
            else:
                shown.append(f"{cell['rate']:,.0f} ({cell['p99_ms']:.1f})")
        uses = [cell["use"] for cell in found if cell and "use" in cell]
        busy = max((use["utilization.gpu"] for use in uses if "utilization.gpu" in use), default=None)
        lines.append(f"| {transport} | {' | '.join(shown)} | {'-' if busy is None else f'{busy:.0f} %'} |")
    return "\n".join([*lines, *(["", *dict.fromkeys(reasons)] if reasons else [])])
