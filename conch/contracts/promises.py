"""The latency promises: read and checked.

A load test holds a model to its promise; where its configuration is written, the promise bounds its queue.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from conch.contracts.errors import ConchError

SHIPPED = Path(__file__).parents[2] / "loadtest" / "promises.yaml"
"""Those of the shipped models."""


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


@dataclass(frozen=True)
class Known:
    """What the files promise, by model; an entry that is wrong is kept as its error and stops nobody else's."""

    files: tuple[Path, ...]
    promises: dict[str, Promise]
    wrong: dict[str, PromiseError]

    def of(self, model: str) -> Promise:
        """Raises PromiseError for a wrong entry, and for none, listing the models that are known."""
        if model in self.wrong:
            raise self.wrong[model]
        if model not in self.promises:
            raise PromiseError(
                f"{self} promises nothing about {model!r}; it knows: {', '.join(self.promises) or 'none'}. Measure one "
                f"(conch load init {model}), write an entry, or name a file that has one: --promises FILE"
            )
        return self.promises[model]

    def __str__(self) -> str:
        return ", ".join(str(file) for file in self.files)


def promise_files(given: Path | None, artifacts: Path) -> list[Path]:
    """Where promises are looked for: the file that is named; else promises.yaml in the working folder, in `artifacts`,
    and last that of the shipped models."""
    if given is not None:
        return [given]
    own = [file for file in (Path("promises.yaml"), artifacts / "promises.yaml") if file.exists()]
    return [*own, SHIPPED]


def read_promises(files: list[Path]) -> Known:
    """Each model's promise by the first file that names it. Raises PromiseError for a file that is missing or
    no YAML."""
    promises: dict[str, Promise] = {}
    wrong: dict[str, PromiseError] = {}
    for path in files:
        for model, entry in _entries(path).items():
            if model in promises or model in wrong:
                continue
            try:
                promises[model] = _promise(f"{path}: {model}", entry)
            except PromiseError as error:
                wrong[model] = error
    return Known(tuple(files), promises, wrong)


def _entries(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PromiseError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise PromiseError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not document:
        raise PromiseError(f"{path}: expected models with their promises")
    return {str(model): entry for model, entry in document.items()}


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
