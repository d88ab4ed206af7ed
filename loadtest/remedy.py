"""What would make an INVALID run tell something: how long, how slowly, with how many users."""

import math

from loadtest.latency import Distribution, interval_ranks
from loadtest.numbers import MOST_USERS

MOST_REQUESTS = 10_000_000  # that an advice may take; beyond it the percentile is as good as at the limit


def duration_that_tells(distribution: Distribution, percent: float, limit: float, seconds: float) -> str:
    """How long a run like this one, of `seconds`, has to be for the interval of a percentile to lie on one side of
    `limit` (ms), with the share of requests within the limit as it was found."""
    count, share = len(distribution), percent / 100
    if not count or seconds <= 0:
        return ""
    within = int(distribution.counts[distribution.bounds <= limit].sum()) / count
    needed = requests_that_tell(within, share)
    if needed is None:
        return (
            f"{within:.2%} were within {limit:g} ms: as good as at the limit, which no duration tells; change the limit"
        )
    # A Poisson process makes fewer than planned by chance: three standard deviations.
    longer = math.ceil((needed + 3 * math.sqrt(needed)) / (count / seconds))
    return f"a duration of {longer}s would do at this rate, if the rest is like this"


def requests_that_tell(within: float, share: float) -> int | None:
    """The fewest requests whose interval of the quantile `share` lies on one side of the limit that `within` (a share)
    do not exceed; None where MOST_REQUESTS are too few."""

    def tells(count: int) -> bool:
        low, high = interval_ranks(count, share)
        good = within * count
        return high is not None and (high <= good or (low is not None and low > good))

    high = 4
    while not tells(high):
        high *= 2
        if high > MOST_REQUESTS:
            return None
    low = high // 2
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if tells(middle) else (middle, high)
    return high


def users_that_do(rate: float, longest_ms: float | None, had: int) -> str:
    """Callers that `rate` (requests/s) takes when each answer may take as long as the slowest (Little's law)."""
    if longest_ms is None:
        return ""
    needed = max(had + 1, math.ceil(1.2 * rate * longest_ms / 1000))
    return (
        f"--users {needed} would do" if needed <= MOST_USERS else "the server does not keep up: a lower rate is needed"
    )


def rate_that_does(rate: float, used: float, most: float) -> str:
    """The rate (requests/s) at which what used the share `used` would use nine tenths of `most`."""
    return f"a rate of {max(1, math.floor(0.9 * rate * most / used))}/s would do" if used > 0 and rate > 0 else ""
