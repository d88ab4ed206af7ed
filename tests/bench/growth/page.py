"""The section of docs/benchmarks.md and its picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from matplotlib.figure import Figure

from loadtest.drawing import RESPONSE, as_svg, finish, plain
from tests.bench.growth.curve import FITTED, Curve
from tests.bench.machine import describe_machine

PICTURE = "benchmarks-growth.svg"
COLUMNS = 3


def section(curves: Sequence[Curve], load: float) -> str:
    """As Markdown; `load` is the machine's load average of the minute before."""
    lines = [
        "## How cost grows",
        "",
        f"`make bench-growth`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}; load before: {load:.2f}. The "
        f"exponent is k of cost = a x size^k through the {FITTED} largest sizes: 1 is linear, 0 does not grow.",
        "",
        f"![Each cost by its cause, both axes logarithmic]({PICTURE})",
        "",
        "| what | by | from ... to | cost | exponent | |",
        "|---|---|---|---|---:|---|",
    ]
    for one in curves:
        sizes = f"{one.sizes[0]:,} ... {one.sizes[-1]:,}"
        costs = f"{one.values[0]:.3g} ... {one.values[-1]:.3g} {one.costs}"
        remark = one.explained if one.met else f"**grows faster than it may** (above {one.most})"
        lines.append(f"| {one.name} | {one.grows} | {sizes} | {costs} | {one.exponent:.2f} | {remark} |")
    return "\n".join(lines)


def draw(curves: Sequence[Curve]) -> str:
    """A small picture for each, as SVG; the dashed line through its last point is linear."""
    rows = math.ceil(len(curves) / COLUMNS)
    figure = Figure(figsize=(10, 2.6 * rows), layout="constrained")
    for number, one in enumerate(curves, 1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        linear = [one.values[-1] * size / one.sizes[-1] for size in one.sizes]
        axes.plot(one.sizes, linear, linestyle="--", linewidth=0.8, color="#5f6b76")
        axes.plot(one.sizes, one.values, marker="o", markersize=3, color=RESPONSE)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(min(one.values) / 2, max(one.values) * 2)
        plain(axes.yaxis)
        axes.set(title=f"{one.name}: exponent {one.exponent:.2f}", xlabel=one.grows.partition(",")[0], ylabel=one.costs)
        finish(axes)
    return as_svg(figure)
