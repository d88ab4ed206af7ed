"""The curves of an answer: what a fleet keeps by its size, and what an answer takes by the load."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from conch.palette import colours
from loadtest.drawing import BAD, as_svg, finish, plain

LEGENDS = {"nothing": "all of them there", "replica": "one lost", "zone": "a zone lost"}


def draw(found: dict[str, Any], answer: dict[str, Any]) -> str:
    """As an <svg> element; `found` is the whole document, `answer` the kind that is drawn."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    rates, latencies = figure.subplots(1, 2)
    own = colours(4)
    for (survive, legend), colour in zip(LEGENDS.items(), own, strict=False):
        kept = [(point["servers"], point[survive] / point["servers"]) for point in answer["curve"] if point[survive]]
        if kept:
            rates.plot(*zip(*kept, strict=True), "-", marker="o", markersize=3, color=colour, label=legend)
    rates.axhline(answer["capacity_per_s"], color="#5f6b76", linewidth=0.8, linestyle=":", label="full batches all day")
    rates.set_xscale("log")
    rates.set_ylim(bottom=0)
    rates.set(title=f"{found['promise']}, {found['balancer'].replace('_', ' ')}", xlabel="servers")
    rates.set_ylabel("requests/s kept, a server")
    for line, colour in zip(answer["latency"], own, strict=True):
        count = line["servers"]
        loads, taken = zip(*line["points"], strict=True)
        latencies.plot(loads, taken, "-", color=colour, label=f"{count} server{'s' if count > 1 else ''}")
    measured = [(point["load"], point["measured_ms"]) for point in answer["model"] if point["load"] <= max(loads)]
    if measured:
        latencies.plot(*zip(*measured, strict=True), "k.", label="one, measured")
    latencies.axhline(found["limit_ms"], color=BAD, linewidth=1, linestyle=":", label="promised")
    latencies.set_yscale("log")
    latencies.set(title=answer["kind"], xlabel="load of a server")
    latencies.set_ylabel(f"p{found['percent']:g}, ms")
    plain(latencies.yaxis)
    for axes in (rates, latencies):
        finish(axes)
    return as_svg(figure)
