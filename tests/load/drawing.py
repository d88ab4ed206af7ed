"""The load test's pictures, as SVG that scales and prints."""

import io
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
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


def draw_cdf(run: dict[str, Any]) -> str:
    """Share of requests answered within a time (log axis), by both clocks."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for key, label, colour in (
        ("histogram", "response, from the intended time", RESPONSE),
        ("service_histogram", "service, from the real send", SERVICE),
    ):
        if run[key]:
            bounds, counts = np.array(run[key], float).reshape(-1, 2).T
            axes.step(bounds, np.cumsum(counts) / counts.sum() * 100, where="post", color=colour, label=label)
            axes.set_xscale("log")
    if run["in_time_ms"]:
        axes.axvline(run["in_time_ms"], color=BAD, linewidth=1, linestyle="--", label="in time")
    plain(axes.xaxis)
    axes.set(xlabel="ms", ylabel="% answered")
    axes.set_ylim(0, 102)
    finish(axes)
    return as_svg(figure)


def draw_series(run: dict[str, Any]) -> str:
    """By the second a request was planned for: rate, failures, latencies; the server's queue and memory."""
    samples = run["server"]["samples"]
    memory = [(sample["t"], sample["rss_bytes"] / (1 << 20)) for sample in samples if "rss_bytes" in sample]
    queue = [(sample["t"], sample["pending"]) for sample in samples if "pending" in sample]
    count = 2 + bool(queue) + bool(memory)
    figure = Figure(figsize=(8, 1.8 * count), layout="constrained")
    rows = figure.subplots(count, sharex=True)
    seconds = [second["t"] for second in run["series"]]
    rows[0].step(
        seconds, [second["requests"] for second in run["series"]], where="post", label="requests/s", color=RESPONSE
    )
    rows[0].step(seconds, [second["failures"] for second in run["series"]], where="post", label="failures/s", color=BAD)
    rows[0].set_ylim(bottom=0)
    answered = [second for second in run["series"] if second["response"]]
    if answered:
        times = [second["t"] + 0.5 for second in answered]
        middles, slowest = zip(*(_median_and_slowest(second["response"]) for second in answered), strict=True)
        rows[1].plot(times, middles, ".-", label="median ms, response", color=RESPONSE)
        rows[1].plot(times, slowest, ".-", label="slowest ms, response", color=SERVICE)
        rows[1].set_yscale("log")
        plain(rows[1].yaxis)
    if queue:
        rows[2].plot(*zip(*queue, strict=True), ".-", label="requests queued in the server", color=SERVICE)
        rows[2].set_ylim(bottom=0)
    if memory:
        rows[-1].plot(*zip(*memory, strict=True), ".-", label="server's memory, MiB", color=RESPONSE)
        rows[-1].yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.0f"))
        rows[-1].set_ylim(0, 1.1 * max(value for _, value in memory))
    for axes in rows:
        finish(axes)
    rows[-1].set_xlabel("seconds after the warm-up")
    return as_svg(figure)


def _median_and_slowest(response: list[list[float]]) -> tuple[float, float]:
    bounds, counts = np.array(response, float).reshape(-1, 2).T
    cumulated = np.cumsum(counts)
    return float(bounds[np.searchsorted(cumulated, cumulated[-1] / 2)]), float(bounds[-1])
