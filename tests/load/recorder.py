"""What happened to every request, with latencies finer than Locust's own whole milliseconds."""

import math
from dataclasses import dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

from tests.load.answers import WrongAnswer

LONGEST_US = 3_600_000_000  # an hour; past the end it counts as that


def _histogram() -> HdrHistogram:
    # Microseconds with three significant digits: exact to 1 us below 2 ms, to 10 us below 20 ms.
    return HdrHistogram(1, LONGEST_US, 3)


@dataclass
class Tally:
    """The requests of one kind. `latencies` (in us) holds those that were answered, rightly or wrongly: a request that
    failed otherwise has no time to be judged by and counts in `failures` alone."""

    requests: int = 0
    failures: int = 0  # wrong answers among them
    wrong_answers: int = 0
    latencies: HdrHistogram = field(default_factory=_histogram)
    longest_ms: float = 0.0

    def add(self, milliseconds: float, error: BaseException | None) -> None:
        """Count one request that took so long and ended so."""
        self.requests += 1
        wrong = isinstance(error, WrongAnswer)
        self.wrong_answers += wrong
        self.failures += error is not None
        if error is None or wrong:
            self.latencies.record_value(min(round(milliseconds * 1000), LONGEST_US))
            self.longest_ms = max(self.longest_ms, milliseconds)

    def merge(self, other: "Tally") -> None:
        """Add what another one counted, without loss."""
        self.requests += other.requests
        self.failures += other.failures
        self.wrong_answers += other.wrong_answers
        self.latencies.add(other.latencies)
        self.longest_ms = max(self.longest_ms, other.longest_ms)

    def percentile_ms(self, percent: float) -> float | None:
        """The smallest latency that `percent` of the answered requests did not exceed; None when none was answered."""
        count = self.latencies.get_total_count()
        if count == 0:
            return None
        # The histogram itself rounds the rank to the nearest, which of few requests leaves out the slowest.
        rank = math.ceil(round(percent / 100 * count, 6))
        return float(self.latencies.get_value_at_percentile(100 * rank / count)) / 1000

    def error_rate(self) -> float:
        """Failures among all requests; 1 when there were none, for nothing was then shown to work."""
        return self.failures / self.requests if self.requests else 1.0

    def summary(self, seconds: float) -> dict[str, Any]:
        """For run.json; `seconds` is how long the requests were made."""
        answered = self.latencies.get_total_count() > 0
        latency: dict[str, float | None] = {f"p{percent}": self.percentile_ms(percent) for percent in (50, 95, 99)}
        latency["max"] = round(self.longest_ms, 3) if answered else None
        latency["mean"] = round(self.latencies.get_mean_value() / 1000, 3) if answered else None
        return {
            "requests": self.requests,
            "failures": self.failures,
            "wrong_answers": self.wrong_answers,
            "requests_per_s": round(self.requests / seconds, 2) if seconds > 0 else 0.0,
            "latency_ms": latency,
        }

    def histogram(self) -> list[tuple[float, int]]:
        """(upper bound in ms, count) of every bucket that was hit, in order."""
        buckets = self.latencies.get_recorded_iterator()
        return [(step.value_iterated_to / 1000, step.count_added_in_this_iter_step) for step in buckets]


@dataclass
class Recorder:
    """A listener to Locust's request event."""

    by_protocol: dict[str, Tally] = field(default_factory=dict)

    def __call__(self, request_type: str, response_time: float, exception: BaseException | None, **_: Any) -> None:
        self.by_protocol.setdefault(request_type, Tally()).add(response_time, exception)

    def total(self) -> Tally:
        """All protocols together."""
        whole = Tally()
        for tally in self.by_protocol.values():
            whole.merge(tally)
        return whole
