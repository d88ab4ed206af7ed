"""The table a run ends with: a line a model, from weights to promise."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from conch.report.differences import difference_text, nearest_to_tolerance
from conch.report.evidence import Evidence
from conch.report.families import by_family, family_of

NOT_RUN = "not run"
NOT_APPLICABLE = "not applicable"
"""Of what has no recipe: neither weights nor a score."""


def summary_rows(models: list[Evidence]) -> list[dict[str, Any]]:
    """The first metric of each model at each step, with parity and latency, as text; family by family."""
    return [{"family": family_of(model)} | _row(model) for model in by_family(models)]


def print_summary(console: Console, models: list[Evidence]) -> None:
    """Show the rows in the terminal."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    table.add_column("judged by")
    for title in ("weights", "ONNX", "live", "parity", "p50\nms", "p99\nms", "req/s", "promise"):
        table.add_column(title, justify="right", no_wrap=True)
    rows = summary_rows(models)
    for before, row in zip([None, *rows], rows, strict=False):
        if rows[0]["family"] != rows[-1]["family"] and (before is None or before["family"] != row["family"]):
            table.add_row(f"[bold]{row['family']}[/]")
        colour = {"KEPT": "green", "BROKEN": "red"}.get(row["promise"], "yellow")
        parity = row["parity"] if row["parity_passed"] else f"[red]{row['parity']}[/]"
        table.add_row(
            row["model"], row["metric"], row["weights"], row["onnx"], row["live"], parity,
            row["p50"], row["p99"], row["rate"], f"[{colour}]{row['promise']}[/]",
        )  # fmt: skip
    console.print(table)


def value_text(metric: dict[str, Any] | None) -> str:
    """A metric's value, or that it was not measured."""
    return NOT_RUN if metric is None else f"{metric['value']:.4f}"


def name_text(metric: dict[str, Any] | None) -> str:
    """A metric's name with its unit."""
    if metric is None:
        return "-"
    return f"{metric['name']}, {metric['unit']}" if metric["unit"] else str(metric["name"])


def _row(model: Evidence) -> dict[str, Any]:
    score = model.published.get("score", {})
    first = {step: next(iter(metrics), None) for step, metrics in score.items()}
    live = next(iter((model.live or {}).get("score", [])), None)
    cell = nearest_to_tolerance(model.parity["cells"]) if model.parity["passed"] else None
    parity = (
        "FAILED" if cell is None else difference_text(cell["difference"], model.output_types.get(cell["output"], ""), 0)
    )
    load = model.load
    latency = load["latency_ms"] if load else {}
    return {
        "model": model.name,
        "metric": name_text(first.get("weights")) if model.recipe else NOT_APPLICABLE,
        "weights": value_text(first.get("weights")) if model.recipe else "-",
        "onnx": value_text(first.get("onnx")) if model.recipe else "-",
        "live": value_text(live) if model.recipe else "-",
        "parity": "as it came" if model.as_it_came else parity,
        "parity_passed": model.parity["passed"],
        "p50": _milliseconds(latency.get("p50")),
        "p99": _milliseconds(latency.get("p99")),
        "rate": f"{load['requests_per_s']:.1f}" if load else NOT_RUN,
        "promise": load["verdict"] if load else NOT_RUN,
    }


def summary_document(model: Evidence) -> dict[str, Any]:
    """What the row of a model says, for programs; None where it was not measured, or does not apply."""
    differences = [cell["difference"] for cell in model.parity["cells"] if cell["difference"] is not None]
    score, load = model.published.get("score", {}), model.load or {}
    return {
        "model": model.name,
        "version": str(model.version),
        "recipe": model.recipe,
        "score": {
            "weights": score.get("weights"),
            "onnx": score.get("onnx"),
            "live": model.live["score"] if model.live else None,
        },
        "parity_passed": model.parity["passed"],
        "largest_difference": max(differences, default=None),
        "latency_ms": load.get("latency_ms"),
        "requests_per_s": load.get("requests_per_s"),
        "verdict": load.get("verdict"),
        "failures": model.failures,
        "missing": model.missing,
    }


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
