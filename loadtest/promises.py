"""The latency promises: read and checked."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from conch.contracts.errors import ConchError


class PromiseError(ConchError):
    """promises.yaml is not as it should be; the message is one line naming the entry."""


@dataclass(frozen=True)
class Promise:
    """What one model promises. Latencies are in milliseconds, None promises nothing."""

    rate: float
    error_rate: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def in_time_ms(self) -> float | None:
        """The longest response time that is promised of any percentile: slower answers are not good ones."""
        return max((limit for limit in (self.p50_ms, self.p95_ms, self.p99_ms) if limit is not None), default=None)


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
        raise PromiseError(
            f"{path} promises nothing about {model!r}; it knows: {', '.join(promises)}. Write an entry for it, or name "
            "a file that has one: --promises FILE"
        )
    return promises[model]


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
