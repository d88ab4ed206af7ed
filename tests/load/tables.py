"""A run on the terminal."""

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tests.load.promises import Verdict


def show_runs(console: Console, runs: list[dict[str, Any]]) -> None:
    """One row a model and protocol, of the contents of their run.json."""
    numbers = (Column(head, justify="right") for head in _NUMBERS)
    table = Table("model", "via", *numbers, "verdict", title="latencies in ms", box=SIMPLE, collapse_padding=True)
    for run in runs:
        rows = list(run["by_protocol"].items()) or [(run["protocol"], run)]
        for protocol, tally in rows:
            verdict = Text("KEPT", "green") if run["kept"] else Text("BROKEN", "red")
            table.add_row(run["model"], protocol, *_cells(tally), verdict)
    console.print(table)


def show_broken(console: Console, run: dict[str, Any], verdicts: list[Verdict]) -> None:
    """A line for each broken promise, and the first errors."""
    for verdict in verdicts:
        if not verdict.kept:
            console.print(f"BROKEN {run['model']}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    for error in run["errors"][:5]:
        line = f"{error['count']} x {error['protocol']} {error['error']}"
        console.print(f"  {run['model']}: {line}", markup=False, highlight=False, soft_wrap=True)


_NUMBERS = ("sent", "bad", "wrong", "per s", "p50", "p95", "p99", "max")


def _cells(tally: dict[str, Any]) -> list[str]:
    counts = [str(tally[key]) for key in ("requests", "failures", "wrong_answers")]
    latencies = [tally["latency_ms"][key] for key in ("p50", "p95", "p99", "max")]
    return [
        *counts,
        f"{tally['requests_per_s']:.1f}",
        *("-" if value is None else f"{value:.2f}" for value in latencies),
    ]
