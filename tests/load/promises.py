"""The latency promises: read, checked, and held against what was measured."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from tests.load.recorder import Tally

# A promise is one about a rate: a generator or server that made less of it has not shown anything about it.
LEAST_SHARE_OF_RATE = 0.9


class PromiseError(Exception):
    """promises.yaml is not as it should be; the message is one line naming the entry."""


@dataclass(frozen=True)
class Promise:
    """What one model promises. Latencies are in milliseconds, None promises nothing."""

    rate: float
    error_rate: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One promise held against a measurement. `got` is None when nothing could be measured, which keeps nothing."""

    metric: str
    limit: float
    got: float | None
    kept: bool

    def __str__(self) -> str:
        got = "nothing measured" if self.got is None else f"{self.got:.6g}"
        bound = "at least" if self.metric in ("requests", "requests_per_s") else "at most"
        return f"{self.metric} {got}, promised {bound} {self.limit:.6g}"


def read_promises(path: Path) -> dict[str, Promise]:
    """The promises by model. Raises PromiseError for a file that is missing, no YAML, or has a wrong entry."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise PromiseError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise PromiseError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not document:
        raise PromiseError(f"{path}: expected models with their promises")
    return {str(model): _promise(f"{path}: {model}", entry) for model, entry in document.items()}


def promise_of(promises: dict[str, Promise], model: str, path: Path) -> Promise:
    """Raises PromiseError listing the models that `path` knows."""
    if model not in promises:
        raise PromiseError(f"{path} promises nothing about {model!r}; it knows: {', '.join(promises)}")
    return promises[model]


def judge(promise: Promise, tally: Tally, rate: float, seconds: float) -> list[Verdict]:
    """Every promise against what `tally` counted in so many seconds at `rate` requests/s; never all kept of nothing."""
    verdicts = [Verdict("requests", 1, tally.requests, tally.requests >= 1)] if tally.requests == 0 else []
    for percent in (50, 95, 99):
        limit = getattr(promise, f"p{percent}_ms")
        if limit is not None:
            got = tally.percentile_ms(percent)
            verdicts.append(Verdict(f"p{percent}_ms", limit, got, got is not None and got <= limit))
    errors = tally.error_rate()
    verdicts.append(Verdict("error_rate", promise.error_rate, errors, errors <= promise.error_rate))
    least, made = LEAST_SHARE_OF_RATE * rate, tally.requests / seconds if seconds > 0 else 0.0
    verdicts.append(Verdict("requests_per_s", least, round(made, 2), made >= least))
    return verdicts


def _promise(place: str, entry: Any) -> Promise:
    known = [field.name for field in fields(Promise)]
    if not isinstance(entry, dict):
        raise PromiseError(f"{place}: expected {', '.join(known)}, got {entry!r}")
    if unknown := [str(key) for key in entry if key not in known]:
        raise PromiseError(f"{place}: unknown {unknown[0]!r}, known are: {', '.join(known)}")
    if absent := [key for key in ("rate", "error_rate") if key not in entry]:
        raise PromiseError(f"{place}: {absent[0]!r} is missing")
    for key, value in entry.items():
        least_excluded = key != "error_rate"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or value < 0 or (least_excluded and value == 0) or (not least_excluded and value > 1):
            wanted = "a number above 0" if least_excluded else "a share from 0 to 1"
            raise PromiseError(f"{place}: {key} must be {wanted}, got {value!r}")
    return Promise(**{key: float(value) for key, value in entry.items()})
