import pytest

from conch.palette import COLOURS, colours
from conch.report.plots import latency_plot


@pytest.mark.parametrize("count", [0, 1, 8, 9, 40, 200])
def test_no_colour_is_given_twice(count: int) -> None:
    assert len(set(colours(count))) == len(colours(count)) == count
    assert colours(count)[:8] == list(COLOURS[:count])


def test_the_plot_of_many_models_has_a_colour_for_each() -> None:
    runs = {
        f"model{n}": {"histogram": [[1.0 + n, 5], [3.0 + n, 5]], "requests": 10, "latency_ms": {"p50": 2.0, "p99": 3.0}}
        for n in range(30)
    }
    text = latency_plot(runs)
    assert all(f"stroke: {colour}" in text for colour in colours(30))


def test_a_line_says_what_the_run_can_say() -> None:
    few = {"histogram": [[1.0, 5]], "requests": 5, "latency_ms": {"p50": 1.0, "p99": None}}
    assert "cnn: 5 requests, half of them within 1 ms, 99 of 100: n too small" in latency_plot({"cnn": few})
