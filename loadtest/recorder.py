"""What happened to each request by two clocks: response time from the intended send, service time from the real one."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram

from conch.contracts.answers import WrongAnswer
from loadtest.errors import RequestRefused
from loadtest.latency import PERCENTS, UNITS_PER_MS, Distribution, new_histogram, quantised_ms, units
from loadtest.streams import Arrival

LATE_MS = 1.0  # a send later than this is late


@dataclass
class Tally:
    """The requests of one kind. The histograms hold those that were answered, rightly or wrongly: a request that failed
    otherwise is slower than any answer and counts in `failures` alone."""

    requests: int = 0
    failures: int = 0  # wrong answers among them
    wrong_answers: int = 0
    refused: int = 0  # for lack of room; failures, too
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
        lag_ms: float | None = None,
    ) -> None:
        """Count one request that took so long by both clocks and ended so.

        `lag_ms` is the generator's own delay; without it, all by which the clocks differ.
        """
        self.requests += 1
        self.items += items
        wrong = isinstance(error, WrongAnswer)
        self.wrong_answers += wrong
        self.refused += isinstance(error, RequestRefused)
        self.failures += error is not None
        self.checked += checked and (error is None or wrong)
        service_ms = response_ms if service_ms is None else service_ms
        lag = max(0.0, response_ms - service_ms if lag_ms is None else lag_ms)
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

    def distribution(self, clock: str = "response", lost: int | None = None) -> Distribution:
        """Of the answered requests by this clock (response, service, lag), and of those that got no answer: all of
        them, or `lost`."""
        if lost is None:
            lost = 0 if clock == "lag" else self.failures - self.wrong_answers
        return Distribution(histogram_pairs(getattr(self, clock)), lost)

    @property
    def answered(self) -> int:
        """Requests that got an answer, right or wrong."""
        return self.requests - self.failures + self.wrong_answers

    def error_rate(self) -> float:
        """Failures among all requests; 1 when there were none, for nothing was then shown to work."""
        return self.failures / self.requests if self.requests else 1.0

    def summary(self, seconds: float) -> dict[str, Any]:
        """For run.json; `seconds` is how long the requests were made."""
        answered = self.answered
        rate = (lambda count: round(count / seconds, 2)) if seconds > 0 else (lambda _: 0.0)
        return {
            "requests": self.requests,
            "failures": self.failures,
            "wrong_answers": self.wrong_answers,
            "refused": self.refused,
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
            "answered_ms": latencies(self.distribution(lost=0)),
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
    "requests", "failures", "wrong_answers", "refused", "checked", "good", "late", "unsent", "items", "total_ms",
    "total_service_ms",
)  # fmt: skip
_HISTOGRAMS = ("response", "service", "lag")


@dataclass
class Second:
    """What arrived in one second of the run, by the time it was planned for."""

    requests: int = 0
    failures: int = 0
    response: Counter = field(default_factory=Counter)  # bucket in ms -> count

    def merge(self, other: "Second") -> None:
        """Add what another one counted."""
        self.requests += other.requests
        self.failures += other.failures
        self.response.update(other.response)


@dataclass
class Part:
    """The requests to one model over one protocol: together, and second by second."""

    tally: Tally = field(default_factory=Tally)
    seconds: dict[int, Second] = field(default_factory=dict)

    def merge(self, other: "Part") -> None:
        """Add what another one counted, without loss."""
        self.tally.merge(other.tally)
        for number, second in other.seconds.items():
            self.seconds.setdefault(number, Second()).merge(second)


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
        self.in_time_ms: dict[str, float | None] = getattr(options, "in_time_ms", None) or {}
        self._clear()

    def _clear(self) -> None:
        self.parts: dict[tuple[str, str], Part] = {}  # of model and protocol
        self.watch = Watch()

    def __call__(
        self,
        request_type: str,
        response_time: float,
        exception: BaseException | None,
        name: str = "",
        service_time: float | None = None,
        arrival: Arrival | None = None,
        lag: float | None = None,
        **_: Any,
    ) -> None:
        checked = arrival is None or arrival.check
        items = 1 if arrival is None else len(arrival.items)
        part = self._part(name, request_type)
        part.tally.add(response_time, exception, service_time, self.in_time_ms.get(name), checked, items, lag)
        number = int(arrival.offset) if arrival else 0
        if (second := part.seconds.get(number)) is None:
            second = part.seconds[number] = Second()
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
            self._part(arrival.golden.model, protocol).tally.unsent += 1

    def _part(self, model: str, protocol: str) -> Part:
        """Not by setdefault: its histograms would be made anew for every request."""
        if (part := self.parts.get((model, protocol))) is None:
            part = self.parts[model, protocol] = Part()
        return part

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

    def merged(self, model: str | None = None, protocol: str | None = None) -> Part:
        """All parts together, or those of a model or a protocol."""
        whole = Part()
        for key, part in self.parts.items():
            if model in (None, key[0]) and protocol in (None, key[1]):
                whole.merge(part)
        return whole

    def total(self, model: str | None = None) -> Tally:
        """Everything, or what went to one model."""
        return self.merged(model).tally

    @property
    def by_protocol(self) -> dict[str, Tally]:
        """All models together."""
        return {protocol: self.merged(protocol=protocol).tally for protocol in sorted({key[1] for key in self.parts})}

    @property
    def seconds(self) -> dict[int, Second]:
        """Everything, by the second it was planned for."""
        return self.merged().seconds

    def send_off(self) -> dict[str, Any]:
        """Everything recorded since the last call, as a message to Locust's master."""
        watch = vars(self.watch) | {"wakes": self.watch.wakes.encode()}
        message = {
            "parts": [[*key, part.tally.packed(), _packed_seconds(part)] for key, part in self.parts.items()],
            "watch": watch,
        }
        self._clear()
        return message

    def receive(self, message: dict[str, Any]) -> None:
        """Add what a worker sent off."""
        for model, protocol, packed, seconds in message["parts"]:
            theirs = Part(Tally.unpacked(packed), _unpacked_seconds(seconds))
            self._part(model, protocol).merge(theirs)
        fared, watch = message["watch"], self.watch
        for name in ("scheduled", "cpu_s", "wall_s", "users", "most_used", "exhausted", "workers"):
            setattr(watch, name, getattr(watch, name) + fared[name])
        watch.busiest = max(watch.busiest, fared["busiest"])
        watch.wakes.add(HdrHistogram.decode(fared["wakes"]))


def _packed_seconds(part: Part) -> list[list[Any]]:
    return [[number, s.requests, s.failures, list(s.response.items())] for number, s in part.seconds.items()]


def _unpacked_seconds(packed: list[list[Any]]) -> dict[int, Second]:
    return {
        number: Second(requests, failures, Counter({float(bucket): count for bucket, count in response}))
        for number, requests, failures, response in packed
    }


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
    # Its own iterator looks at tens of thousands of buckets one by one: minutes for a scenario of sixty models.
    counts = np.asarray(histogram.counts)
    hit = ((int(index), int(counts[index])) for index in np.flatnonzero(counts))
    return [
        (histogram.get_highest_equivalent_value(histogram.get_value_from_index(index)) / UNITS_PER_MS, count)
        for index, count in hit
    ]
