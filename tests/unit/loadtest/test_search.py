import random
from typing import Any

import pytest

from loadtest.drawing import draw_cdfs, draw_profile, draw_series
from loadtest.errors import CannotRun
from loadtest.memory import MIB, slope_of
from loadtest.one_promise import promise_from
from loadtest.search import Finding, bisect, collapsed, limited_by_generator


def server(capacity: float, generator: float = 1e9):  # type: ignore[no-untyped-def]
    """A probe of something that keeps its promise up to a rate."""

    def probe(rate: float) -> Finding:
        return "generator" if rate > generator else "kept" if rate <= capacity else "not kept"

    return probe


@pytest.mark.parametrize("capacity", [7.0, 99.0, 100.0, 1234.0])
def test_bisection_ends_around_the_capacity(capacity: float) -> None:
    steps, low, high = bisect(server(capacity), 100, 20000, 0.1)
    assert low is not None
    assert high is not None
    assert low <= capacity < high <= low * 1.1 * 1.0001
    assert len(steps) < 40
    assert not limited_by_generator(steps, high)


def test_one_bad_run_does_not_end_the_search() -> None:
    calls: list[float] = []

    def flaky(rate: float) -> Finding:
        calls.append(rate)
        return "kept" if rate <= 1000 and calls.count(rate) == 2 else "not kept"

    _, low, high = bisect(flaky, 100, 20000, 0.1)
    assert low is not None
    assert high is not None
    assert low <= 1000 < high <= low * 1.11


def test_no_rate_that_keeps_it_and_no_rate_that_breaks_it() -> None:
    assert bisect(server(0.1), 100, 1000, 0.1)[1] is None
    assert bisect(server(1e9), 100, 1000, 0.1)[1:] == (1000, None)


def test_the_generators_end_is_not_the_servers() -> None:
    steps, low, high = bisect(server(1e9, generator=500), 100, 20000, 0.1)
    assert (low, high) == (400, 800)
    assert limited_by_generator(steps, high)


def test_promises_are_read() -> None:
    assert promise_from("p99<5ms").p99_ms == 5
    assert promise_from(" p95 <= 2.5 ms ").p95_ms == 2.5
    assert promise_from("p99=20ms").p99_ms == 20
    for text in ("p99", "p90<5ms", "p99<0ms", "p99<5s", "p99<1.2.3ms", "p99<.ms"):
        with pytest.raises(CannotRun, match="expected p50, p95 or p99"):
            promise_from(text)


def points(*medians: float | None) -> list[dict]:
    latency = [{"p50": median, "p95": None, "p99": None} for median in medians]
    return [{"rate": 50.0 * (n + 1), "latency_ms": entry, "service_ms": entry} for n, entry in enumerate(latency)]


def test_collapse_is_seen_and_drawn() -> None:
    assert not collapsed(points(1.0))
    assert not collapsed(points(1.0, 19.0))
    assert collapsed(points(1.0, 21.0))
    assert collapsed(points(1.0, None))
    assert draw_profile("cnn", points(1.0, 2.0, None)).startswith("<svg")


def memory(mib_per_hour: float, seconds: int = 600) -> list[tuple[float, float]]:
    draw = random.Random(0)
    return [(t, 500 * MIB + mib_per_hour * MIB * t / 3600 + draw.gauss(0, 0.1) * MIB) for t in range(seconds)]


def test_a_leak_has_a_slope_and_a_steady_server_has_none() -> None:
    steady, leaking = slope_of(memory(0)), slope_of(memory(60))
    assert steady is not None
    assert leaking is not None
    assert steady.low <= 0 <= steady.high < 10
    assert leaking.low > 50
    assert leaking.low <= 60 <= leaking.high


def test_what_fills_at_the_start_and_one_jump_are_no_leak() -> None:
    samples = [(float(t), 500 * MIB + min(t, 100) * MIB / 5 + (2 * MIB if t > 300 else 0)) for t in range(600)]
    slope = slope_of(samples)
    assert slope is not None
    assert slope.low <= 0


def test_too_few_samples_have_no_slope() -> None:
    assert slope_of([]) is None
    assert slope_of([(0.0, 1.0)] * 8) is None


@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_search_that_is_stopped_keeps_what_it_found(at: int) -> None:
    probes = 0

    def stopped(rate: float) -> Finding:
        nonlocal probes
        probes += 1
        return "stopped" if probes == at else server(700)(rate)

    steps, low, high = bisect(stopped, 100, 20000, 0.1)
    assert len(steps) == at
    assert [step.finding for step in steps].index("stopped") == at - 1
    assert low == max((step.rate for step in steps if step.finding == "kept"), default=None)
    assert high == min((step.rate for step in steps if step.finding == "not kept"), default=None)


@pytest.mark.slow
def test_a_profile_and_a_run_of_nothing_are_drawn() -> None:
    nothing = {"p50": None, "p95": None, "p99": None}
    assert "<svg" in draw_profile("cnn", [])
    assert "<svg" in draw_profile("cnn", [{"rate": 50.0, "latency_ms": nothing, "service_ms": nothing}])
    series = [{"t": 0, "requests": 3, "failures": 3, "response": []}]
    empty = {"model": "cnn", "protocol": "http", "histogram": [], "service_histogram": []}
    for parts in ([], [empty | {"series": []}], [empty | {"series": series}]):
        for promises in ([], [{"model": "cnn", "metric": "p99_ms", "limit": 5.0}]):
            run: dict[str, Any] = {"parts": parts, "promises": promises, "series": series, "server": {"samples": []}}
            assert all("<svg" in picture for picture in (*draw_cdfs(run), draw_series(run)))
