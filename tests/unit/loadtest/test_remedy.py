import pytest

from loadtest.latency import Distribution, interval_ranks
from loadtest.remedy import duration_that_tells, rate_that_does, requests_that_tell, users_that_do


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_as_many_requests_as_are_advised_have_an_interval_and_hardly_fewer_do(share: float) -> None:
    needed = requests_that_tell(1.0, share)
    assert needed is not None
    assert interval_ranks(needed, share)[1] is not None
    assert interval_ranks(int(0.95 * needed) - 1, share)[1] is None


@pytest.mark.parametrize("within", [0.995, 0.98])
def test_what_is_advised_tells_on_which_side_of_the_limit_it_is(within: float) -> None:
    needed = requests_that_tell(within, 0.99)
    assert needed is not None
    low, high = interval_ranks(needed, 0.99)
    assert low is not None
    assert high is not None
    assert high <= within * needed or low > within * needed


def test_the_duration_is_computed_from_the_rate_that_was_made() -> None:
    few = Distribution([(5.0, 125)])
    assert duration_that_tells(few, 99, 19, 2.0) == "a duration of 7s would do at this rate, if the rest is like this"
    assert duration_that_tells(few, 99, 19, 0.0) == ""
    edge = Distribution([(5.0, 990), (40.0, 10)])
    assert duration_that_tells(edge, 99, 19, 2.0).endswith("which no duration tells; change the limit")


def test_users_and_rate() -> None:
    assert users_that_do(1000, 500, 256) == "--users 600 would do"
    assert users_that_do(1000, 1, 256) == "--users 257 would do"
    assert "lower rate" in users_that_do(20000, 60_000, 256)
    assert rate_that_does(1000, 1.0, 0.9) == "a rate of 810/s would do"
