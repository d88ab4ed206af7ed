"""The report's plots, as SVG that scales and prints."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from conch.palette import colours
from conch.report.differences import difference_text


def latency_plot(runs: dict[str, dict[str, Any]]) -> str:
    """Share of requests answered within a time (log axis), a line a model, as SVG text."""
    figure = Figure(figsize=(8.5, max(3.4, 0.22 * len(runs) + 0.6)), layout="constrained")
    axes = figure.add_subplot()
    said: list[str] = []
    for (model, run), colour in zip(runs.items(), colours(len(runs)), strict=True):
        bounds, counts = np.array(run["histogram"], float).reshape(-1, 2).T
        share = np.cumsum(counts) / counts.sum() * 100
        (line,) = axes.step(bounds, share, where="post", label=model, color=colour, linewidth=1.6)
        line.set_gid(f"line-{len(said)}")
        said.append(_says(model, run))
        axes.plot([run["latency_ms"]["p99"]], [99], "o", color=colour, markersize=5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.set(xlabel="response time in ms (log scale); the dot is p99", ylabel="% of requests answered")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "conch"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()[text.getvalue().index("<svg") :]
    for number, sentence in enumerate(said):  # what a browser shows where the mouse rests on the line
        drawn = drawn.replace(f'<g id="line-{number}">', f'<g id="line-{number}"><title>{escape(sentence)}</title>')
    return drawn


def _says(model: str, run: dict[str, Any]) -> str:
    said = [f"{model}: {run['requests']} requests"]
    for share, percentile in (("half of them", "p50"), ("99 of 100", "p99")):
        latency = run["latency_ms"][percentile]
        said.append(f"{share}: n too small" if latency is None else f"{share} within {latency:.3g} ms")
    return ", ".join(said)


def parity_rows(parity: dict[str, Any], types: Mapping[str, str]) -> tuple[list[int], list[dict[str, Any]]]:
    """The grid as rows for a heat map: the batches, and for each output, inputs and sizes the cell of every batch.

    `types` are those of the outputs, on the wire.
    """
    batches = sorted({cell["batch"] for cell in parity["cells"]})
    rows: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for cell in parity["cells"]:
        sizes = " ".join(f"{name} {size}" for name, size in cell["sizes"].items())
        rows.setdefault((cell["output"], sizes, cell["inputs"]), {})[cell["batch"]] = cell | {
            "level": _level(cell),
            "text": difference_text(cell["difference"], types.get(cell["output"], "")),
        }
    return batches, [
        {"output": output, "sizes": sizes, "inputs": inputs, "cells": [cells.get(batch) for batch in batches]}
        for (output, sizes, inputs), cells in rows.items()
    ]


def _level(cell: dict[str, Any]) -> int:
    """How much of the tolerance a cell uses: 0 none, 1 and 2 little, 3 a tenth, 4 half and more; 5 where it failed."""
    if not cell["passed"] or cell["difference"] is None:
        return 5
    absolute = cell["tolerance"][0]
    if cell["difference"] == 0 or absolute == 0:
        return 0
    return 1 + int(np.digitize(cell["difference"] / absolute, (1e-3, 0.1, 0.5)))
