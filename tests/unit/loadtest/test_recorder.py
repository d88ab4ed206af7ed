import copy
import random

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from conch.contracts.answers import WrongAnswer
from loadtest.errors import RequestRefused
from loadtest.golden import Golden
from loadtest.latency import UNITS_PER_MS
from loadtest.recorder import Recorder, Tally, histogram_pairs
from loadtest.streams import Arrival

GOLDEN = Golden("cnn", "1", {}, {}, {}, "")


def tally(milliseconds: list[float]) -> Tally:
    """Of requests that were all answered rightly."""
    counted = Tally()
    for value in milliseconds:
        counted.add(value, None)
    return counted


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


def test_what_was_refused_is_a_failure_of_its_own_kind_and_left_out_of_the_answered() -> None:
    counted = tally([10.0] * 500)
    for _ in range(500):
        counted.add(1.0, RequestRefused("HTTP 503: full"))
    summary = Tally.unpacked(counted.packed()).summary(seconds=1.0)
    assert (summary["failures"], summary["refused"], summary["wrong_answers"]) == (500, 500, 0)
    assert summary["latency_ms"]["p95"] is None, "slower than any answer"
    assert summary["answered_ms"]["p95"] == pytest.approx(10.0, rel=0.01)


def test_goodput_is_right_and_in_time() -> None:
    counted = Tally()
    counted.add(1.0, None, in_time_ms=5.0)
    counted.add(6.0, None, in_time_ms=5.0)
    counted.add(1.0, WrongAnswer("y"), in_time_ms=5.0)
    counted.add(1.0, TimeoutError(), in_time_ms=5.0)
    assert counted.summary(seconds=1.0)["goodput_per_s"] == 1.0


def test_both_clocks_and_late_sends_are_kept_apart() -> None:
    counted = Tally()
    for _ in range(99):
        counted.add(2.0, None, service_ms=1.9)
    counted.add(102.0, None, service_ms=2.0)
    assert counted.late == 1
    assert counted.distribution("response").at_rank(100) == pytest.approx(102, rel=1e-3)
    assert counted.distribution("service").at_rank(100) == pytest.approx(2, rel=1e-3)
    assert counted.distribution("lag").at_rank(100) == pytest.approx(100, rel=1e-3)


def test_nothing_measured_has_no_latency_and_every_error() -> None:
    summary = Tally().summary(seconds=0.0)
    assert {summary["latency_ms"][name] for name in ("p50", "p95", "p99", "max", "mean")} == {None}
    assert Tally().error_rate() == 1.0
    assert histogram_pairs(Tally().response) == []


def record(recorder: Recorder, values: list[float]) -> None:
    for place, value in enumerate(values):
        arrival = Arrival(0.0, GOLDEN, [0], True, offset=place / 100)
        recorder.due("http", arrival)
        protocol = ("http", "grpc")[place % 2]
        recorder(protocol, value, None, name="cnn", service_time=value * 0.9, arrival=arrival)


def test_merging_workers_loses_nothing() -> None:
    draw = random.Random(0)
    values = [draw.lognormvariate(0, 2) for _ in range(2000)]
    master, alone = Recorder(), Recorder()
    for part in (values[:700], values[700:]):
        worker = Recorder()
        for half in (part[:100], part[100:]):  # a worker reports more than once
            record(worker, half)
            master.receive(worker.send_off())
        assert worker.by_protocol == {}
    record(alone, values)
    for name in ("response", "service", "lag"):
        assert histogram_pairs(getattr(master.total(), name)) == histogram_pairs(getattr(alone.total(), name))
    assert master.total().summary(1.0)["latency_ms"]["ci95"] == alone.total().summary(1.0)["latency_ms"]["ci95"]
    assert master.watch.scheduled == 2000
    assert sum(second.requests for second in master.seconds.values()) == 2000


def test_seconds_hold_the_same_buckets_as_the_histogram() -> None:
    recorder = Recorder()
    draw = random.Random(1)
    record(recorder, [draw.lognormvariate(0, 3) for _ in range(500)])
    merged: dict[float, int] = {}
    for second in recorder.seconds.values():
        for bucket, count in second.response.items():
            merged[bucket] = merged.get(bucket, 0) + count
    assert sorted(merged.items()) == histogram_pairs(recorder.total().response)


def test_histograms_are_hdr_with_three_digits() -> None:
    assert isinstance(Tally().response, HdrHistogram)
    assert Tally().response.significant_figures == 3


def test_buckets_are_those_that_the_library_iterates_over() -> None:
    spread = tally([0.0, 1e9, *np.exp(np.random.default_rng(0).uniform(-6, 12, 500)).tolist()])
    for histogram in (spread.response, Tally.unpacked(spread.packed()).response):
        steps = list(map(copy.copy, histogram.get_recorded_iterator()))  # it gives the same object each time
        expected = [(step.value_iterated_to / UNITS_PER_MS, step.count_added_in_this_iter_step) for step in steps]
        assert histogram_pairs(histogram) == expected
        assert len(expected) > 100
