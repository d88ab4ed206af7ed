"""What the tests of a trial let pass and what they do not, on drawn requests; and that shares are read."""

import numpy as np
import pytest

from serving.commands.rollout import main
from serving.errors import ServingError
from serving.rollout.judgement import ALPHA, HARM, POWER, SLOWER, Side, judge, looks, needed
from serving.rollout.notice import Seen
from serving.rollout.trial import checked_share

SHARE = 0.1
ROUNDS = 60


def taken_back(seed: int, live_fails: float = 0.0, candidate_fails: float = 0.0, times: float = 1.0) -> bool:
    """Whether a candidate is, of which so many requests fail and that takes so many times as long."""
    draw = np.random.default_rng(seed)
    live, candidate, before = Side(), Side(), 0
    for look in looks(needed((1 - SHARE) / SHARE)):
        requests = look - before
        before = look
        sides = (
            (live, round(requests * (1 - SHARE) / SHARE), live_fails, 1.0),
            (candidate, requests, candidate_fails, times),
        )
        for side, count, fails, slower in sides:
            failed = int(draw.binomial(count, fails))
            side.failed += failed
            side.seconds += list(draw.lognormal(0, 0.5, count - failed) * slower)
        if judge(live, candidate).worse:
            return True
    return False


@pytest.mark.parametrize(
    ("what", "share"),
    [
        ({"candidate_fails": HARM}, (POWER - 0.1, 1)),  # of 60 rounds: within two and a half deviations
        ({"times": 1.5}, (POWER, 1)),
        ({}, (0, ALPHA)),
        ({"live_fails": 0.05, "candidate_fails": 0.05}, (0, ALPHA + 0.05)),
        ({"times": SLOWER}, (0, ALPHA + 0.05)),
    ],
)
def test_as_often_as_is_said(what: dict[str, float], share: tuple[float, float]) -> None:
    found = sum(taken_back(seed, **what) for seed in range(ROUNDS)) / ROUNDS
    assert share[0] <= found <= share[1]


def test_the_fewest_failures_that_show_it() -> None:
    """Against no failure of 900: by the hypergeometric distribution, three of 100 are p = 0.00097."""
    live = Side([0.001] * 900)
    assert not judge(live, Side([0.001] * 98, failed=2)).worse
    found = judge(live, Side([0.001] * 97, failed=3))
    assert found.p_errors == pytest.approx(100 * 99 * 98 / (1000 * 999 * 998))
    assert found.worse == "more requests fail (p = 0.00097)"
    assert "more requests fail" in judge(live, Side(failed=50)).worse, "none was answered"


@pytest.mark.parametrize(("differing", "may", "worse"), [(0, 0, 0), (1, 0, 1), (3, 0.01, 0), (9, 0.01, 1)])
def test_answers_that_differ(differing: int, may: float, worse: int) -> None:
    side = Side([0.001] * 200)
    assert bool(judge(side, side, differing, may).worse) == worse


def test_fewer_requests_are_needed_where_the_live_version_gets_more() -> None:
    counts = [needed(times) for times in (1, 4, 9, 99)]
    assert counts == sorted(counts, reverse=True)
    assert (needed(9), needed(1)) == (270, 650), "as docs/releasing.md says"
    assert looks(100) == [20, 40, 60, 80, 100]


def test_rows_that_make_no_sense_are_left_out() -> None:
    seen = Seen()
    sense = [[0, 0, 0.1, 0], [1, 0, 0.2, 1], [1, 1, 0, 0], [1, 2, 0, 0]]
    seen.add(np.array([*sense, [1, 0, np.nan, 1], [1, 0, -1, 1], [0, 7, 1, 0]]))
    assert (seen.live.seconds, seen.candidate.seconds) == ([0.1], [0.2])
    assert (seen.candidate.failed, seen.dropped, seen.differing) == (1, 1, 1)


@pytest.mark.parametrize("within", ["0", "-1", "nan", "inf"])
def test_a_trial_ends(within: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cnn", "--canary", "--within", within]) == 1
    assert capsys.readouterr().err == f"error: --within is a number of seconds above 0, got {within}\n"


@pytest.mark.parametrize("text", ["10", "0%", "-1%", "51%", "x%", "%", "nan%", "inf%"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(ServingError, match="above 0% and at most 50%, got"):
        checked_share(text, most=0.5)
    assert checked_share("2.5%", most=0.5) == 0.025
