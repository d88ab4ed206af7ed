import random
import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from loadtest.arrivals import ArrivalsError, arrivals, poisson


def test_poisson_is_seeded_and_has_the_rate_and_the_spread() -> None:
    times = list(arrivals("poisson", 200, 50, "7"))
    assert times == list(arrivals("poisson", 200, 50, "7"))
    assert times != list(arrivals("poisson", 200, 50, "8"))
    assert abs(len(times) - 10_000) < 400  # four standard deviations
    gaps = [after - before for before, after in pairwise(times)]
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.05)  # exponential


def test_constant_has_equal_distances() -> None:
    assert list(arrivals("constant", 4, 1, "0")) == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("pattern", ["poisson", "constant"])
def test_workers_make_the_rate_together_and_nothing_twice(pattern: str) -> None:
    shares = [list(arrivals(pattern, 100, 20, "3", share, 3)) for share in range(3)]
    together = sorted(time for share in shares for time in share)
    assert len(set(together)) == len(together)
    assert abs(len(together) - 2000) < 180
    if pattern == "constant":
        assert together == pytest.approx([place / 100 for place in range(2000)])


def test_rate_may_change_with_time() -> None:
    times = list(poisson(lambda time: 10 if time < 50 else 100, 100, 100, random.Random(0)))
    early = sum(time < 50 for time in times)
    assert abs(early - 500) < 100
    assert abs(len(times) - early - 5000) < 300


def test_replay_has_the_times_of_the_file_divided_among_workers(tmp_path: Path) -> None:
    path = tmp_path / "times.txt"
    path.write_text("0\n0.5\n0.5\n2.25\n")
    assert list(arrivals("poisson", 1, 10, "0", replay=path)) == [0, 0.5, 0.5, 2.25]
    assert list(arrivals("poisson", 1, 2, "0", replay=path)) == [0, 0.5, 0.5]
    assert list(arrivals("poisson", 1, 10, "0", 1, 2, replay=path)) == [0.5, 2.25]


@pytest.mark.parametrize(
    ("text", "words"), [("0\n1\n0.5", "time 3"), ("0\nsoon", "'soon'"), ("nan", "time 1"), ("", "no times")]
)
def test_wrong_times_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "times.txt"
    path.write_text(text)
    with pytest.raises(ArrivalsError, match=words):
        arrivals("poisson", 1, 10, "0", replay=path)
