import math
import random

import pytest

from loadtest.latency import Distribution, interval_ranks, new_histogram, quantised_ms, units
from loadtest.recorder import histogram_pairs


def distribution(milliseconds: list[float], lost: int = 0) -> Distribution:
    histogram = new_histogram()
    for value in milliseconds:
        assert histogram.record_value(units(value))
    return Distribution(histogram_pairs(histogram), lost)


def test_percentiles_are_of_the_nearest_rank() -> None:
    thousand = distribution([float(value) for value in range(1, 1001)])
    for percent in (50, 95, 99):
        assert thousand.percentile(percent).value == pytest.approx(percent * 10, rel=1e-3)


def test_a_quarter_of_a_millisecond_is_told_from_another() -> None:
    assert distribution([0.23] * 100).percentile(50).value == pytest.approx(0.23, rel=1e-3)
    assert distribution([0.26] * 100).percentile(50).value == pytest.approx(0.26, rel=1e-3)
    assert quantised_ms(0.23) < quantised_ms(0.2305) < quantised_ms(0.26)


@pytest.mark.parametrize("milliseconds", [0.01, 0.0101, 0.234, 1.0, 9.99, 123.4, 3_599_999.0])
def test_three_digits_from_ten_microseconds(milliseconds: float) -> None:
    assert quantised_ms(milliseconds) == pytest.approx(milliseconds, rel=1e-3)
    ((bound, count),) = histogram_pairs_of(milliseconds)
    assert (bound, count) == (quantised_ms(milliseconds), 1)


def histogram_pairs_of(milliseconds: float) -> list[tuple[float, int]]:
    histogram = new_histogram()
    histogram.record_value(units(milliseconds))
    return histogram_pairs(histogram)


def test_hours_are_clamped_and_not_lost() -> None:
    assert distribution([1e9] * 10).percentile(50).value == pytest.approx(3_600_000, rel=2e-3)


@pytest.mark.parametrize(
    ("count", "percent", "enough"), [(5, 50, False), (6, 50, True), (367, 99, False), (368, 99, True)]
)
def test_a_percentile_takes_enough_samples(count: int, percent: float, enough: bool) -> None:
    """0.5^n and 0.99^n must be at most 0.025."""
    found = distribution([float(value) for value in range(1, count + 1)]).percentile(percent)
    assert (found.value is not None) == enough
    assert (found.high is not None) == enough


def test_the_interval_covers_the_true_percentile_as_often_as_it_says() -> None:
    draw = random.Random(0)
    for share, count in ((0.5, 100), (0.95, 200), (0.99, 500)):
        low, high = interval_ranks(count, share)
        assert low is not None
        assert high is not None
        covered = 0
        for _ in range(2000):
            values = sorted(draw.random() for _ in range(count))  # the percentile of these is the share itself
            covered += values[low - 1] <= share <= values[high - 1]
        assert 0.94 <= covered / 2000 <= 0.995


def test_lost_requests_are_slower_than_any_answer() -> None:
    found = distribution([1.0] * 900, lost=100)
    assert found.percentile(50).value == pytest.approx(1.0, rel=1e-3)
    assert found.percentile(95).value == math.inf
    assert len(found) == 1000
