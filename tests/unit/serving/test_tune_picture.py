"""The picture of a search: whose measurement a point is can be told of each that counts."""

from itertools import combinations

import pytest

from serving.tune.candidates import Candidate
from serving.tune.latency_limit import LatencyLimit
from serving.tune.load import Point
from serving.tune.picture import APART, front_figure
from serving.tune.progress import Progress

CURRENT = Candidate("resnet", 2, 1, 32, 200)
SMALLER = Candidate("resnet_int8", 2, 2, 8, 0)


def point(users: int, rate: float, p99: float | None) -> Point:
    return Point(users, rate, 1.0, p99, 0.5)


def test_two_measurements_of_one_configuration_are_told_apart() -> None:
    close = [point(4, 1100, 5.0), point(16, 1101, 5.02), point(64, 1103, 5.04)]
    progress = Progress("key", searched={CURRENT: [point(4, 500, 8.0), point(16, 2000, 19.0)], SMALLER: close})
    figure = front_figure(progress, CURRENT, LatencyLimit.parse("p99=20ms"))
    (axes,) = figure.axes
    numbers = [text for text in axes.texts if text.get_text()]
    assert [text.get_text() for text in numbers] == ["1", "2", "3", "4"]
    places = [text.get_window_extent() for text in numbers]
    scale = figure.dpi / 72
    for one, other in combinations(places, 2):
        middles = ((one.x0 + one.x1 - other.x0 - other.x1) / 2, (one.y0 + one.y1 - other.y0 - other.y1) / 2)
        assert (middles[0] ** 2 + middles[1] ** 2) ** 0.5 >= 0.9 * APART * scale, "no number lies on another"
    lines = figure.get_supxlabel().splitlines()
    assert lines[0] == "1  resnet_int8: 2 x 2 threads, batch 8, 0 us, 4 users: 1100/s, p99 5.00 ms"
    assert lines[1] == "2  resnet_int8: 2 x 2 threads, batch 8, 0 us, 16 users: 1101/s, p99 5.02 ms"
    assert lines[3] == "4  resnet: 2 x 1 threads, batch 32, 200 us (current), 16 users: 2000/s, p99 19.00 ms"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][:5] == [
        "resnet",
        "resnet_int8",
        "4 users",
        "16 users",
        "64 users",
    ]


@pytest.mark.parametrize("points", [[], [point(4, 500, None)]])
def test_a_search_without_a_front_is_drawn(points: list[Point]) -> None:
    figure = front_figure(Progress("key", searched={CURRENT: points}), CURRENT, LatencyLimit.parse(None))
    assert figure.get_supxlabel() == ""
