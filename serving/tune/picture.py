"""Requests/s against p99 of all that was measured, the best of them by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conch.palette import colours
from serving.tune.candidates import Candidate
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import Point
from serving.tune.progress import Progress
from serving.tune.report import front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X<>"
"""One of each number of users."""
PLACES = [(x * far, y * far) for far in (13, 24, 36, 50) for x, y in ((0, 1), (0, -1), (1, 0.6), (-1, 0.6), (1, -0.6))]
"""Of a number beside its point, in points, the preferred one first."""
APART = 13.0
"""Points between the middles of two numbers, so that neither lies on the other."""


def draw(file: Path, progress: Progress, current: Candidate, promise: LatencyLimit) -> None:
    """Write `front_figure` to a PNG file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    front_figure(progress, current, promise).savefig(file, metadata={"Software": None})


def front_figure(progress: Progress, current: Candidate, promise: LatencyLimit) -> Figure:
    """Every point that has a p99: its colour is the model's, its form the number of users. Those of the front have a
    number each, whose line says the configuration, the users and what was measured: one configuration is there once for
    each number of users that it is on the front with."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    best = front(progress.searched)
    figure = Figure(figsize=(8, 4.6 + 0.18 * len(best)), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    _scatter(axes, progress, current)
    if promise.limit_ms is not None:
        axes.axvline(promise.limit_ms, color="#b0413e", linewidth=1, linestyle="--", label=str(promise))
    axes.set(title=current.model, xlabel="p99, ms (closed loop)", ylabel="requests/s")
    axes.margins(0.08, 0.12)
    if best:
        across, up = [point.p99_ms or 0.0 for _, point in best], [point.requests_per_s for _, point in best]
        axes.plot(across, up, color="#5f6b76", linewidth=1, label="front, numbered", zorder=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        lines = [_named(number, *entry, current) for number, entry in enumerate(best, 1)]
        figure.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.draw_without_rendering()  # places are known once it is laid out
    _number(axes, [(point.p99_ms or 0.0, point.requests_per_s) for _, point in best])
    return figure


def _scatter(axes: Axes, progress: Progress, current: Candidate) -> None:
    """The points, an entry in the legend for each model and number of users that there is."""
    models = sorted({one.model for one in progress.searched} - {current.model})
    colour = dict(zip([current.model, *models], colours(1 + len(models)), strict=True))
    users = sorted({point.users for points in progress.searched.values() for point in points})
    for candidate, points in progress.searched.items():
        for point in points:
            if point.p99_ms is not None:
                axes.scatter(
                    point.p99_ms, point.requests_per_s, zorder=3, s=34, linewidths=1.6 if candidate == current else 0,
                    marker=MARKERS[users.index(point.users) % len(MARKERS)], color=colour[candidate.model],
                    edgecolors="#111111", alpha=1 if candidate == current else 0.75,
                )  # fmt: skip
    for model, shade in colour.items():
        axes.scatter([], [], color=shade, marker="s", label=model)
    for count in users:
        marker = MARKERS[users.index(count) % len(MARKERS)]
        axes.scatter([], [], color="#9aa5b1", marker=marker, label=f"{count} users")
    axes.scatter([], [], color="#ffffff", edgecolors="#111111", linewidths=1.6, label="current configuration")


def _named(number: int, candidate: Candidate, point: Point, current: Candidate) -> str:
    now = " (current)" if candidate == current else ""
    return f"{number}  {candidate}{now}, {point.users} users: {point.requests_per_s:.0f}/s, p99 {point.p99_ms:.2f} ms"


def _number(axes: Axes, points: list[tuple[float, float]]) -> None:
    """A number beside each point, at the first of `PLACES` where it is on no other number and no other point."""
    figure = axes.get_figure()
    assert figure is not None
    scale = figure.dpi / 72
    seen = [tuple(axes.transData.transform(point) / scale) for point in points]
    taken: list[tuple[float, float]] = []
    for number, (point, (x, y)) in enumerate(zip(points, seen, strict=True), 1):
        places = [(x + right, y + above) for right, above in PLACES]
        free = [place for place in places if all(_distance(place, other) >= APART for other in (*taken, *seen))]
        place = (free or [max(places, key=lambda one: min(_distance(one, other) for other in (*taken, *seen)))])[0]
        taken.append(place)
        axes.annotate(
            str(number), point, (place[0] - x, place[1] - y), textcoords="offset points", fontsize=9, ha="center",
            va="center", arrowprops={"arrowstyle": "-", "color": "#5f6b76", "linewidth": 0.6, "shrinkA": 4}, zorder=4,
        )  # fmt: skip


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2) ** 0.5)
