"""The pages of a search: what `capacity` and `profile` found, made from their JSON files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtest.search_words import capacity_says, profile_says

CAPACITY_HEADS = ("requests/s", "found")
PROFILE_HEADS = ("requests/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "p50 from real send", "late", "bad")


def capacity_page(result: dict[str, Any]) -> str:
    """HTML text of every rate tried, in the order of the search."""
    rows = [(f"{step['rate']:.0f}", step["finding"]) for step in result["steps"]]
    return _page(result, f"{result['model']}: capacity", capacity_says(result), CAPACITY_HEADS, rows)


def profile_page(result: dict[str, Any]) -> str:
    """HTML text of latency against rate; the picture is inside it."""
    from loadtest.drawing import draw_profile  # matplotlib takes longer than all else of a refusal

    picture = draw_profile(result["model"], result["points"])
    rows = profile_rows(result["points"])
    return _page(
        result,
        f"{result['model']}: profile",
        profile_says(result),
        PROFILE_HEADS,
        rows,
        picture,
    )


def profile_rows(points: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row a rate, as text."""
    return [
        (
            f"{entry['rate']:.0f}",
            f"{entry['requests_per_s']:.0f}",
            *(_cell(entry["latency_ms"][name]) for name in ("p50", "p95", "p99")),
            _cell(entry["service_ms"]["p50"]),
            f"{entry['late_share']:.1%}",
            str(entry["failures"]),
        )
        for entry in points
    ]


def _page(
    result: dict[str, Any],
    title: str,
    says: str,
    heads: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    picture: str = "",
) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("search.html.j2")
    return template.render(result=result, title=title, says=says, heads=heads, rows=rows, picture=Markup(picture))


def _cell(value: float | None) -> str:
    return "n too small" if value is None else f"{value:.2f}"
