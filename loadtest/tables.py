"""A run on the terminal."""

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

COLOURS = {"KEPT": "green", "BROKEN": "red", "INVALID": "yellow"}


def show_runs(console: Console, runs: list[dict[str, Any]]) -> None:
    """Two rows a model and protocol, one for each clock, of the contents of their run.json."""
    numbers = (Column(head, justify="right") for head in _NUMBERS)
    table = Table(
        "model", "via", "from", *numbers, "verdict", title="latencies in ms", box=SIMPLE, collapse_padding=True
    )
    for run in runs:
        rows = list(run["by_protocol"].items()) or [(run["protocol"], run)]
        for protocol, tally in rows:
            verdict = Text(run["verdict"], COLOURS[run["verdict"]])
            counts = [str(tally[key]) for key in ("requests", "failures", "refused", "wrong_answers")]
            counts += [f"{tally['goodput_per_s']:.1f}", f"{tally['late_share']:.1%}"]
            table.add_row(run["model"], protocol, "intended", *counts, *_cells(tally["latency_ms"]), verdict)
            table.add_row(run["model"], protocol, "real send", *[""] * 6, *_cells(tally["service_ms"]), "")
    console.print(table)


def show_reasons(console: Console, run: dict[str, Any], promises: list[str]) -> None:
    """A line for each broken promise and each reason of invalidity, and the first errors."""
    lines = [f"BROKEN {run['model']}: {promise}" for promise in promises]
    lines += [f"INVALID {run['model']}: {check['says']}" for check in run["checks"] if not check["ok"]]
    lines += [f"  {run['model']}: {e['count']} x {e['protocol']} {e['error']}" for e in run["errors"][:5]]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


_NUMBERS = ("sent", "bad", "refused", "wrong", "good/s", "late", "p50", "p95", "p99", "mean")


def _cells(latency: dict[str, Any]) -> list[str]:
    """Numbers with their intervals; what the sample cannot support is said in words."""
    cells = []
    for name in ("p50", "p95", "p99"):
        value, (low, high) = latency[name], latency["ci95"][name]
        cells.append("n too small" if value is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]")
    return [*cells, "-" if latency["mean"] is None else f"{latency['mean']:.2f}"]
