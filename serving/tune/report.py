"""What a search found, as a table and as a document."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.tune.candidates import Candidate
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import BUSY_GENERATOR, Point
from serving.tune.progress import Progress, Results
from serving.tune.search import Decision
from serving.tune.tuner import Tuner

SHOWN = 12
"""Lines of the table; the file of the progress has all."""


def front(results: Results) -> list[tuple[Candidate, Point]]:
    """The points than which none serves more at a p99 as low, by rising p99 (those without a p99 left out)."""
    points = [(one, point) for one, found in results.items() for point in found if point.p99_ms is not None]
    points.sort(key=lambda entry: (entry[1].p99_ms or 0.0, -entry[1].requests_per_s))
    best: list[tuple[Candidate, Point]] = []
    for entry in points:
        if not best or entry[1].requests_per_s > best[-1][1].requests_per_s:
            best.append(entry)
    return best


def show(console: Console, progress: Progress, current: Candidate, promise: LatencyLimit) -> None:
    """The candidates, the best first, each at the number of users it served the most with within the promise."""
    table = Table("configuration", "users", "requests/s", "p99 ms", "")
    best = {id(point) for _, point in front(progress.searched)}
    rows = []
    for candidate, points in progress.searched.items():
        point = promise.best(points)
        shown = point or max(points, key=lambda one: one.requests_per_s, default=None)
        notes = ["current"] if candidate == current else []
        unknown = promise.limit_ms is not None and any(one.p99_ms is None for one in points)
        notes += ["too few requests to tell" if unknown else "breaks the promise"] if point is None and points else []
        notes += [progress.reasons.get(candidate, "not served")] if not points else []
        notes += ["front"] if any(id(one) in best for one in points) else []
        numbers = (str(shown.users), f"{shown.requests_per_s:.0f}", _ms(shown.p99_ms)) if shown else ("-", "-", "-")
        rows.append((promise.score(point) if point else 0.0, [str(candidate), *numbers, escape(", ".join(notes))]))
    rows.sort(key=lambda row: row[0], reverse=True)
    for _, row in rows[:SHOWN]:
        table.add_row(*row)
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"and {len(rows) - SHOWN} more, which serve less", style="dim")
    console.print(
        "The load generator shares the machine's cores with the server, in a closed loop: the figures rank "
        "configurations, `conch load capacity` tells what one keeps.",
        style="dim",
    )
    busiest = max((point.generator_cpu for points in progress.searched.values() for point in points), default=0.0)
    if busiest > BUSY_GENERATOR:
        console.print(
            f"The load generator used up to {busiest:.0%} of a core: it may be what limits the fastest "
            "configurations, which then look alike.",
            style="yellow",
            highlight=False,
        )


def show_rounds(console: Console, rounds: Results, current: Candidate) -> None:
    """The final comparison."""
    if not rounds:
        return
    table = Table("final comparison, in turn", "users", "requests/s of each round", "p99 ms of each")
    for candidate, points in rounds.items():
        if points:
            name = f"{candidate}{' (current)' if candidate == current else ''}"
            rates = " ".join(f"{point.requests_per_s:.0f}" for point in points)
            table.add_row(escape(name), str(points[0].users), rates, " ".join(_ms(point.p99_ms) for point in points))
    console.print(table)


def result_document(tuner: Tuner, decision: Decision, written: Path | None) -> dict[str, Any]:
    """All of it for programs, as docs/json.md says."""
    measured = tuner.progress.as_json()
    return {
        "model": tuner.order.model,
        "promise": str(tuner.order.promise),
        "current": tuner.current.as_json(),
        "searched": measured["searched"],
        "rounds": measured["rounds"],
        "winner": decision.winner.as_json() if decision.winner else None,
        "reason": decision.reason,
        "written": str(written) if written else None,
    }


def _ms(value: float | None) -> str:
    return "n too small" if value is None else f"{value:.2f}"
