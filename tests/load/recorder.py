"""What happened to each request by two clocks: response time from the intended send, service time from the real one."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

from tests.load.answers import WrongAnswer
from tests.load.latency import PERCENTS, UNITS_PER_MS, Distribution, new_histogram, quantised_ms, units
from tests.load.pool import Arrival

LATE_MS = 1.0  # a send later than this is late


@dataclass
class Tally:
    """The requests of one kind. The histograms hold those that were answered, rightly or wrongly: a request that failed
    otherwise is slower than any answer and counts in `failures` alone."""

    requests: int = 0
    failures: int = 0  # wrong answers among them
    wrong_answers: int = 0
    checked: int = 0
    good: int = 0  # correct and in time
    late: int = 0
    unsent: int = 0
    items: int = 0
    longest_ms: float = 0.0
    total_ms: float = 0.0
    total_service_ms: float = 0.0
    response: HdrHistogram = field(default_factory=new_histogram)
    service: HdrHistogram = field(default_factory=new_histogram)
    lag: HdrHistogram = field(default_factory=new_histogram)

    def add(
        self,
        response_ms: float,
        error: BaseException | None,
        service_ms: float | None = None,
        in_time_ms: float | None = None,
        checked: bool = True,
        items: int = 1,
    ) -> None:
        """Count one request that took so long by both clocks and ended so."""
        self.requests += 1
        self.items += items
        wrong = isinstance(error, WrongAnswer)
        self.wrong_answers += wrong
        self.failures += error is not None
        self.checked += checked and (error is None or wrong)
        service_ms = response_ms if service_ms is None else service_ms
        lag = max(0.0, response_ms - service_ms)
        self.late += lag > LATE_MS
        self.lag.record_value(units(lag))
        if error is None or wrong:
            self.response.record_value(units(response_ms))
            self.service.record_value(units(service_ms))
            self.longest_ms = max(self.longest_ms, response_ms)
            self.total_ms += response_ms
            self.total_service_ms += service_ms
            self.good += error is None and (in_time_ms is None or response_ms <= in_time_ms)

    def merge(self, other: "Tally") -> None:
        """Add what another one counted, without loss."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.longest_ms = max(self.longest_ms, other.longest_ms)
        for name in _HISTOGRAMS:
            getattr(self, name).add(getattr(other, name))

    def distribution(self, clock: str = "response") -> Distribution:
        """Of the answered requests by this clock (response, service, lag), and of those that got no answer."""
        lost = 0 if clock == "lag" else self.failures - self.wrong_answers
        return Distribution(histogram_pairs(getattr(self, clock)), lost)

    def error_rate(self) -> float:
        """Failures among all requests; 1 when there were none, for nothing was then shown to work."""
        return self.failures / self.requests if self.requests else 1.0

    def summary(self, seconds: float) -> dict[str, Any]:
        """For run.json; `seconds` is how long the requests were made."""
        answered = self.requests - self.failures + self.wrong_answers
        rate = (lambda count: round(count / seconds, 2)) if seconds > 0 else (lambda _: 0.0)
        return {
            "requests": self.requests,
            "failures": self.failures,
            "wrong_answers": self.wrong_answers,
            "checked": self.checked,
            "requests_per_s": rate(self.requests),
            "goodput_per_s": rate(self.good),
            "items_per_s": rate(self.items),
            "late_share": round(self.late / self.requests, 6) if self.requests else 0.0,
            "unsent": self.unsent,
            "latency_ms": latencies(self.distribution())
            | {
                "max": round(self.longest_ms, 4) if answered else None,
                "mean": round(self.total_ms / answered, 4) if answered else None,
            },
            "service_ms": latencies(self.distribution("service"))
            | {"mean": round(self.total_service_ms / answered, 4) if answered else None},
            "lag_ms": latencies(self.distribution("lag")),
        }

    def packed(self) -> dict[str, Any]:
        """As a message to Locust's master."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in (*_COUNTS, "longest_ms")}
        return counts | {name: getattr(self, name).encode() for name in _HISTOGRAMS}

    @classmethod
    def unpacked(cls, message: dict[str, Any]) -> "Tally":
        """What `packed` made."""
        histograms = {name: HdrHistogram.decode(message[name]) for name in _HISTOGRAMS}
        return cls(**(message | histograms))


_COUNTS = (
    "requests", "failures", "wrong_answers", "checked", "good", "late", "unsent", "items", "total_ms",
    "total_service_ms",
)  # fmt: skip
_HISTOGRAMS = ("response", "service", "lag")


@dataclass
class Second:
    """What arrived in one second of the run, by the time it was planned for."""

    requests: int = 0
    failures: int = 0
    response: Counter = field(default_factory=Counter)  # bucket in ms -> count


@dataclass
class Watch:
    """How the generators fared."""

    scheduled: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    busiest: float = 0.0  # the largest share of a core that one event loop used
    users: int = 0
    most_used: int = 0
    exhausted: int = 0
    workers: int = 0
    wakes: HdrHistogram = field(default_factory=new_histogram)  # how late the event loop woke for an arrival


class Recorder:
    """A listener to Locust's request event; on a master the sum of the workers' recorders."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, options: Any) -> None:
        """Forget everything."""
        self.in_time_ms: float | None = getattr(options, "in_time_ms", None)
        self._clear()

    def _clear(self) -> None:
        self.by_protocol: dict[str, Tally] = {}
        self.seconds: dict[int, Second] = {}
        self.watch = Watch()

    def __call__(
        self,
        request_type: str,
        response_time: float,
        exception: BaseException | None,
        service_time: float | None = None,
        arrival: Arrival | None = None,
        **_: Any,
    ) -> None:
        checked = arrival is None or arrival.check
        items = 1 if arrival is None else len(arrival.items)
        tally = self.by_protocol.setdefault(request_type, Tally())
        tally.add(response_time, exception, service_time, self.in_time_ms, checked, items)
        second = self.seconds.setdefault(int(arrival.offset) if arrival else 0, Second())
        second.requests += 1
        second.failures += exception is not None
        if exception is None or isinstance(exception, WrongAnswer):
            second.response[quantised_ms(response_time)] += 1

    def due(self, _protocol: str, arrival: Arrival) -> None:
        """An arrival whose time has come."""
        if arrival.counted:
            self.watch.scheduled += 1
            self.watch.wakes.record_value(units((arrival.woken - arrival.due) * 1000))

    def unsent(self, protocol: str, arrival: Arrival) -> None:
        """An arrival that the run's end came before."""
        if arrival.counted:
            self.by_protocol.setdefault(protocol, Tally()).unsent += 1

    def pool(self, _protocol: str, users: int, most_used: int, exhausted: int) -> None:
        """How many users there were, were busy at once at most, and how often none was left."""
        self.watch.users += users
        self.watch.most_used += most_used
        self.watch.exhausted += exhausted

    def loop_cpu(self, cpu_s: float, wall_s: float) -> None:
        """CPU time of the event loop's thread over the counted time."""
        self.watch.workers += 1
        self.watch.cpu_s += cpu_s
        self.watch.wall_s += wall_s
        self.watch.busiest = max(self.watch.busiest, cpu_s / wall_s if wall_s > 0 else 0.0)

    def total(self) -> Tally:
        """All protocols together."""
        whole = Tally()
        for tally in self.by_protocol.values():
            whole.merge(tally)
        return whole

    def send_off(self) -> dict[str, Any]:
        """Everything recorded since the last call, as a message to Locust's master."""
        watch = vars(self.watch) | {"wakes": self.watch.wakes.encode()}
        message = {
            "by_protocol": {protocol: tally.packed() for protocol, tally in self.by_protocol.items()},
            "seconds": {number: [s.requests, s.failures, dict(s.response)] for number, s in self.seconds.items()},
            "watch": watch,
        }
        self._clear()
        return message

    def receive(self, message: dict[str, Any]) -> None:
        """Add what a worker sent off."""
        for protocol, packed in message["by_protocol"].items():
            self.by_protocol.setdefault(protocol, Tally()).merge(Tally.unpacked(packed))
        for number, (requests, failures, response) in message["seconds"].items():
            second = self.seconds.setdefault(int(number), Second())
            second.requests += requests
            second.failures += failures
            second.response.update({float(bucket): count for bucket, count in response.items()})
        theirs, watch = message["watch"], self.watch
        for name in ("scheduled", "cpu_s", "wall_s", "users", "most_used", "exhausted", "workers"):
            setattr(watch, name, getattr(watch, name) + theirs[name])
        watch.busiest = max(watch.busiest, theirs["busiest"])
        watch.wakes.add(HdrHistogram.decode(theirs["wakes"]))


def latencies(distribution: Distribution) -> dict[str, Any]:
    """Each percentile in ms (None: n too small, or slower than any answer) and under `ci95` its interval."""
    found = [distribution.percentile(percent) for percent in PERCENTS]
    values: dict[str, Any] = {entry.name: _finite(entry.value) for entry in found}
    values["ci95"] = {entry.name: [_finite(entry.low), _finite(entry.high)] for entry in found}
    return values


def _finite(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 5)


def histogram_pairs(histogram: HdrHistogram) -> list[tuple[float, int]]:
    """(upper end in ms, count) of every bucket that was hit, in order."""
    return [
        (step.value_iterated_to / UNITS_PER_MS, step.count_added_in_this_iter_step)
        for step in histogram.get_recorded_iterator()
    ]
