"""A scenario file: which models are asked how, and how much, over time. docs/load.md has its fields.

Everything in it is checked before anything is sent.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from locust.util.timespan import parse_timespan

from conch.contracts.errors import ConchError
from loadtest.numbers import HIGHEST_RATE

Shares = dict[Any, float]
"""Choice -> weight; the weights need not add up to one."""


class ScenarioError(ConchError):
    """The scenario file is not as it should be; one line naming file and field, what it says and what is allowed."""


@dataclass(frozen=True)
class Stream:
    """Sequences of requests to a model that keeps a state."""

    length: int
    """Requests of one sequence."""
    interval_s: float
    """From one request of a sequence to the next, as intended: the next is sent when the last is answered."""
    answers_of: str
    """The model without a state whose golden answers hold whole sequences; or the model itself, for its own."""


@dataclass(frozen=True)
class Part:
    """One model's part of the load."""

    model: str
    weight: float
    batches: Shares
    protocols: Shares
    stream: Stream | None = None


@dataclass(frozen=True)
class Change:
    """Of the rate, between two moments of the counted time."""

    start: float
    end: float
    rate: float


@dataclass(frozen=True)
class Scenario:
    """Rates are in requests/s of all models together, times in seconds."""

    parts: tuple[Part, ...]
    rate: float
    duration_s: float
    warmup_s: float
    seed: int
    check: float
    users: int
    ramps: tuple[Change, ...]
    """From start to end the rate goes evenly to this one, and stays there."""
    spikes: tuple[Change, ...]
    """From start to end the rate is this one, whatever it was."""
    text: str

    @property
    def sha256(self) -> str:
        """Of the file."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def highest(self) -> float:
        """No moment has a higher rate."""
        return max(self.rate, *(change.rate for change in (*self.ramps, *self.spikes)), 0.0)

    @property
    def protocols(self) -> list[str]:
        """All that are spoken."""
        return sorted({protocol for part in self.parts for protocol, weight in part.protocols.items() if weight})

    def rate_at(self, time: float) -> float:
        """The rate at this time; before 0, in the warm-up, it is the first one."""
        for spike in self.spikes:
            if spike.start <= time < spike.end:
                return spike.rate
        rate = self.rate
        for ramp in self.ramps:
            if time < ramp.start:
                break
            share = min(1.0, (time - ramp.start) / (ramp.end - ramp.start))
            rate += (ramp.rate - rate) * share
        return rate

    def share(self, part: Part) -> float:
        """Of all requests, those that go to this model."""
        return part.weight / sum(part.weight for part in self.parts)


@lru_cache(maxsize=8)
def read_scenario(path: Path) -> Scenario:
    """Raises ScenarioError for a file that cannot be read, is no YAML, or has a field that is not as it should be."""
    try:
        text = path.read_text()
        document = yaml.load(text, _OnceLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not a text'}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ScenarioError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    top = _Fields(str(path), document, {
        "duration", "warmup", "seed", "check", "users", "rate", "ramps", "spikes", "models",
    })  # fmt: skip
    duration = top.get("duration", _positive_time)
    scenario = Scenario(
        parts=_parts(top),
        rate=top.get("rate", _rate),
        duration_s=duration,
        warmup_s=top.get("warmup", _time, 1.0),
        seed=top.get("seed", _whole, 0),
        check=top.get("check", _share, 1.0),
        users=top.get("users", _count, 256),
        ramps=tuple(
            Change(*_between(fields, duration), fields.get("rate", _rate_or_none))
            for fields in top.list("ramps", {"start", "end", "rate"})
        ),
        spikes=tuple(
            Change(*_between(fields, duration), fields.get("rate", _rate_or_none))
            for fields in top.list("spikes", {"start", "end", "rate"})
        ),
        text=text,
    )
    _apart(f"{path}: ramps", scenario.ramps)
    _apart(f"{path}: spikes", scenario.spikes)
    return scenario


Kind = Callable[[Any], Any]
"""Gives the value, or raises ValueError saying what is allowed."""


class _Fields:
    """A mapping of the file at `place`, all of its keys known."""

    def __init__(self, place: str, content: Any, known: set[str]) -> None:
        if not isinstance(content, dict):
            raise ScenarioError(f"{place}: expected fields ({', '.join(sorted(known))}), got {content!r}")
        if unknown := [str(key) for key in content if key not in known]:
            raise ScenarioError(f"{place}: unknown field {unknown[0]!r}, known are: {', '.join(sorted(known))}")
        self.place, self.content = place, content

    def get(self, name: str, kind: Kind, default: Any = None) -> Any:
        """The checked value of a field."""
        if name not in self.content and default is not None:
            return default
        if name not in self.content:
            raise ScenarioError(f"{self.place}: field {name!r} is missing")
        value = self.content[name]
        try:
            return kind(value)
        except ValueError as error:
            raise ScenarioError(f"{self.place}: {name} must be {error}, got {value!r}") from error

    def list(self, name: str, known: set[str]) -> list["_Fields"]:
        """A field that is a list of mappings; none where it is not there."""
        entries = self.content.get(name, [])
        if not isinstance(entries, list):
            raise ScenarioError(f"{self.place}: {name} must be a list, got {entries!r}")
        return [_Fields(f"{self.place}: {name}, number {n}", entry, known) for n, entry in enumerate(entries, 1)]


def _parts(top: _Fields) -> tuple[Part, ...]:
    models = top.get("models", _mapping)
    parts = []
    for model, content in models.items():
        place = f"{top.place}: models: {model}"
        fields = _Fields(place, content, {"weight", "batch", "protocol", "stream"})
        stream = None
        if "stream" in fields.content:
            inner = _Fields(f"{place}: stream", fields.content["stream"], {"length", "interval", "answers_of"})
            stream = Stream(inner.get("length", _count), inner.get("interval", _time), inner.get("answers_of", _name))
            if "batch" in fields.content:
                raise ScenarioError(f"{place}: batch must be left out of a stream, whose requests have one item each")
        weight = fields.get("weight", _positive)
        protocols = fields.get("protocol", _protocols, {"http": 1.0})
        parts.append(Part(str(model), weight, fields.get("batch", _batches, {1: 1.0}), protocols, stream))
    return tuple(parts)


def _between(fields: _Fields, duration: float) -> tuple[float, float]:
    start, end = fields.get("start", _time), fields.get("end", _time)
    if not start < end <= duration:
        allowed = f"after start ({start:g}s) and not after the duration ({duration:g}s)"
        raise ScenarioError(f"{fields.place}: end must be {allowed}, got {fields.content['end']!r}")
    return start, end


def _apart(place: str, changes: tuple[Change, ...]) -> None:
    for number, (before, after) in enumerate(pairwise(changes), 2):
        if after.start < before.end:
            says = f"number {number} must start at or after the end of the one above ({before.end:g}s)"
            raise ScenarioError(f"{place}: {says}, got {after.start:g}s")


def _rate(value: Any) -> float:
    if (rate := _positive(value)) > HIGHEST_RATE:
        raise ValueError(f"at most {HIGHEST_RATE:g}")
    return rate


def _rate_or_none(value: Any) -> float:
    if (rate := _number(value)) > HIGHEST_RATE:
        raise ValueError(f"at most {HIGHEST_RATE:g}")
    return rate


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("a number, 0 or more")
    return float(value)


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError("a number above 0")
    return float(value)


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("a share from 0 to 1")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number above 0")
    return value


def _time(value: Any) -> float:
    try:
        return float(parse_timespan(value)) if isinstance(value, str) else _number(value)
    except ValueError as error:
        raise ValueError("a time, in seconds or as 20s, 2m, 1h30m") from error


def _positive_time(value: Any) -> float:
    if (seconds := _time(value)) <= 0:
        raise ValueError("a time above 0")
    return seconds


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("the name of a model")
    return value


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict) or not value:
        raise ValueError("models with their fields, one at least")
    return value


def _protocols(value: Any) -> Shares:
    return _weights(value, lambda key: key in ("http", "grpc"), "http, grpc or weights of both as {http: 2, grpc: 1}")


def _batches(value: Any) -> Shares:
    whole = lambda key: isinstance(key, int) and not isinstance(key, bool) and key > 0  # noqa: E731
    return _weights(value, whole, "a number of items or weights of several as {1: 9, 8: 1}")


def _weights(value: Any, known: Callable[[Any], bool], allowed: str) -> Shares:
    """A single choice, or choices with weights of which one at least is above 0."""
    if isinstance(value, list):
        raise ValueError(allowed)
    shares = value if isinstance(value, dict) else {value: 1}
    try:
        weights = {key: _number(weight) for key, weight in shares.items()}
    except ValueError as error:
        raise ValueError(allowed) from error
    if not sum(weights.values()) or not all(known(key) for key in weights):
        raise ValueError(allowed)
    return weights


class _OnceLoader(yaml.SafeLoader):
    """A model or field that stands twice is an error; YAML itself would forget the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"{twice[0]!r} stands twice in line {node.start_mark.line + 1} and after")
        return super().construct_mapping(node, deep)
