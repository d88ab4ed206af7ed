"""The load test's pictures, as SVG that scales and prints."""

import io
from typing import Any

import matplotlib
import matplotlib.ticker
from matplotlib.figure import Figure

RESPONSE, SERVICE, BAD = "#2f6db3", "#d1662b", "#b0413e"


def draw_profile(model: str, points: list[dict[str, Any]]) -> str:
    """Latency (log axis) against the rate asked for; a percentile that n is too small for is left out."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, style in (("p50", "-"), ("p95", "--"), ("p99", ":")):
        found = [(p["rate"], p["latency_ms"][name]) for p in points if p["latency_ms"][name] is not None]
        if found:
            axes.plot(
                *zip(*found, strict=True), style, marker="o", markersize=3, color=RESPONSE, label=f"{name}, response"
            )
    sent = [(p["rate"], p["service_ms"]["p50"]) for p in points if p["service_ms"]["p50"] is not None]
    if sent:
        axes.plot(*zip(*sent, strict=True), "-", color=SERVICE, label="p50, service")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        plain(axis)
    axes.set(title=model, xlabel="requests/s asked for", ylabel="ms")
    finish(axes)
    return as_svg(figure)


def plain(axis: Any) -> None:
    """Plain numbers at 1, 2 and 5 of each decade of a log axis."""
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def finish(axes: Any) -> None:
    """Grid, frame and legend as everywhere."""
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def as_svg(figure: Figure) -> str:
    """The picture as an <svg> element."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "conch"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
