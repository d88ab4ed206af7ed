import random

import pytest

from tests.load.answers import WrongAnswer
from tests.load.recorder import Recorder, Tally


def tally(milliseconds: list[float]) -> Tally:
    """Of requests that were all answered rightly."""
    counted = Tally()
    for value in milliseconds:
        counted.add(value, None)
    return counted


def test_percentiles_are_of_the_nearest_rank() -> None:
    hundred = tally([float(value) for value in range(1, 101)])
    assert [hundred.percentile_ms(percent) for percent in (50, 95, 99)] == pytest.approx([50, 95, 99], rel=1e-3)
    # The 99th percentile of few requests is the slowest of them, and not the one before.
    assert tally([1.0] * 51 + [100.0]).percentile_ms(99) == pytest.approx(100, rel=1e-3)


def test_a_quarter_of_a_millisecond_is_told_from_another() -> None:
    assert tally([0.23]).percentile_ms(50) == pytest.approx(0.23)
    assert tally([0.26]).percentile_ms(50) == pytest.approx(0.26)


def test_wrong_answer_is_a_failure_with_a_latency_and_a_lost_request_has_none() -> None:
    counted = Tally()
    counted.add(1.0, None)
    counted.add(2.0, WrongAnswer("y: largest difference 1e+00"))
    counted.add(9000.0, TimeoutError())
    summary = counted.summary(seconds=2.0)
    assert (summary["requests"], summary["failures"], summary["wrong_answers"]) == (3, 2, 1)
    assert summary["requests_per_s"] == 1.5
    assert summary["latency_ms"]["max"] == 2.0
    assert counted.error_rate() == pytest.approx(2 / 3)


def test_nothing_measured_has_no_latency_and_every_error() -> None:
    summary = Tally().summary(seconds=0.0)
    assert set(summary["latency_ms"].values()) == {None}
    assert Tally().error_rate() == 1.0
    assert Tally().histogram() == []


def test_merging_loses_nothing() -> None:
    draw = random.Random(0)
    values = [draw.lognormvariate(0, 2) for _ in range(2000)]
    recorder = Recorder()
    for place, value in enumerate(values):
        recorder(request_type=("http", "grpc")[place % 2], response_time=value, exception=None, name="cnn")
    total, whole = recorder.total(), tally(values)
    assert total.summary(1.0) == whole.summary(1.0)
    assert total.histogram() == whole.histogram()
    assert sum(count for _, count in total.histogram()) == 2000


def test_hours_are_clamped_and_not_lost() -> None:
    assert tally([1e9]).percentile_ms(50) == pytest.approx(3_600_000, rel=2e-3)
