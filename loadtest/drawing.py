"""The load test's pictures, as SVG that scales and prints."""

import io
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from conch.palette import colours

RESPONSE, SERVICE, BAD = "#2f6db3", "#d1662b", "#b0413e"
PROTOCOLS = {
    "http": {"response": RESPONSE, "service": "#7fb0e0"},
    "grpc": {"response": "#b8501a", "service": "#eda675"},
}


def draw_profile(model: str, points: list[dict[str, Any]]) -> str:
    """Latency (log axis) against the rate asked for; a percentile that n is too small for is left out."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    own = colours(4)
    for name, style, colour in zip(("p50", "p95", "p99"), ("-", "--", ":"), (own[0], *own[2:]), strict=True):
        found = [(p["rate"], p["latency_ms"][name]) for p in points if p["latency_ms"][name] is not None]
        if found:
            axes.plot(
                *zip(*found, strict=True), style, marker="o", markersize=3, color=colour, label=f"{name}, response"
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
    """Plain numbers at 1, 2 and 5 of each decade of a log axis; of another one, which has no data, none at all."""
    if axis.get_scale() != "log":
        axis.set_ticks([])
        return
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


def draw_cdfs(run: dict[str, Any]) -> list[str]:
    """For each model the share of requests answered within a time (log axis), by both clocks, a colour a protocol."""
    models = list(dict.fromkeys(part["model"] for part in run["parts"]))
    return [_draw_cdf(run, model, len(models) > 1) for model in models]


def _draw_cdf(run: dict[str, Any], model: str, named: bool) -> str:
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for part in (part for part in run["parts"] if part["model"] == model):
        for key, clock, style in (("histogram", "response", "-"), ("service_histogram", "service", "--")):
            if part[key]:
                bounds, counts = np.array(part[key], float).reshape(-1, 2).T
                shares = np.cumsum(counts) / counts.sum() * 100
                colour, label = PROTOCOLS[part["protocol"]][clock], f"{part['protocol']}, {clock}"
                axes.step(bounds, shares, style, where="post", color=colour, label=label)
                axes.set_xscale("log")
    if limit := _longest_promised(run, model):
        axes.axvline(limit, color=BAD, linewidth=1, linestyle=":", label="in time")
        axes.set_xscale("log")
    plain(axes.xaxis)
    axes.set(xlabel="ms", ylabel="% answered", title=model if named else "")
    axes.set_ylim(0, 102)
    finish(axes)
    return as_svg(figure)


def draw_series(run: dict[str, Any]) -> str:
    """By the second a request was planned for: rate and latency of each model and protocol, failures; the server's
    queue and memory."""
    samples = run["server"]["samples"]
    memory = [(sample["t"], sample["rss_bytes"] / (1 << 20)) for sample in samples if "rss_bytes" in sample]
    queue = [(sample["t"], sample["pending"]) for sample in samples if "pending" in sample]
    count = 2 + bool(queue) + bool(memory)
    figure = Figure(figsize=(6, 1.6 * count + 0.2 * len(run["parts"])), layout="constrained")
    rows = figure.subplots(count, sharex=True)
    for part, colour in zip(run["parts"], colours(len(run["parts"])), strict=True):
        name = f"{part['model']}, {part['protocol']}"
        seconds = {second["t"]: second for second in part["series"]}
        # The last second has a width too.
        every = range(min(seconds), max(seconds) + 2) if seconds else range(0)
        rates = [seconds[t]["requests"] if t in seconds else 0 for t in every]
        rates[-1:] = rates[-2:-1]
        rows[0].step(list(every), rates, where="post", label=name, color=colour)
        answered = [(t + 0.5, _median(second["response"])) for t, second in seconds.items() if second["response"]]
        if answered:
            rows[1].plot(*zip(*answered, strict=True), ".-", color=colour)
    if failed := [(second["t"] + 0.5, second["failures"]) for second in run["series"] if second["failures"]]:
        rows[0].plot(*zip(*failed, strict=True), "x", label="failures", color=BAD)
    slowest = [(second["t"] + 0.5, second["response"][-1][0]) for second in run["series"] if second["response"]]
    if slowest:
        rows[1].plot(*zip(*slowest, strict=True), "_", label="slowest", color=BAD)
        rows[1].set_yscale("log")
        plain(rows[1].yaxis)
    rows[0].set_ylabel("requests/s")
    rows[0].set_ylim(bottom=0)
    rows[1].set_ylabel("median ms")
    if queue:
        rows[2].plot(*zip(*queue, strict=True), "-", color=SERVICE)
        rows[2].set_ylabel("queued")
        rows[2].set_ylim(bottom=0)
    if memory:
        rows[-1].plot(*zip(*memory, strict=True), "-", color=RESPONSE)
        rows[-1].yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.0f"))
        rows[-1].set_ylabel("server's MiB")
        rows[-1].set_ylim(0, 1.1 * max(value for _, value in memory))
    for axes in rows:
        finish(axes)
    if slowest:  # above the points, wherever they are
        rows[1].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.97), borderaxespad=0)
    if rows[0].get_legend():
        rows[0].legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    rows[-1].set_xlabel("seconds after the warm-up")
    return as_svg(figure)


def _longest_promised(run: dict[str, Any], model: str) -> float | None:
    limits = [
        entry["limit"] for entry in run["promises"] if entry["model"] == model and entry["metric"] != "error_rate"
    ]
    return max(limits, default=None)


def _median(response: list[list[float]]) -> float:
    bounds, counts = np.array(response, float).reshape(-1, 2).T
    cumulated = np.cumsum(counts)
    return float(bounds[np.searchsorted(cumulated, cumulated[-1] / 2)])
