"""The kinds of servers that can be had, with their prices: a small file of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtest.errors import CannotRun

HOURS = 730.0  # of a month
KEYS = ("profile", "price_per_hour")
EXAMPLE = "kinds: {two-cores: {profile: report/load-profile/cnn.json, price_per_hour: 0.1}}"


@dataclass(frozen=True)
class Kind:
    """A kind of server: the profile of one, and its price an hour in the file's currency (None: not known)."""

    name: str
    profile: Path
    price_per_hour: float | None


@dataclass(frozen=True)
class Kinds:
    """What the file has; `currency` is as it is to be printed."""

    kinds: tuple[Kind, ...]
    currency: str = ""


def read_kinds(path: Path) -> Kinds:
    """`currency` and `kinds`: by name `profile` (a path from the file's own folder) and `price_per_hour`.

    Raises:
        CannotRun: It cannot be read, or an entry is not so; the message names it.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise CannotRun(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not isinstance(found.get("kinds"), dict) or not found["kinds"]:
        raise CannotRun(f"{path}: expected kinds of servers by name, as {EXAMPLE}")
    if unknown := sorted(map(str, found.keys() - {"kinds", "currency"})):
        raise CannotRun(f"{path}: unknown {unknown[0]!r}, known are: currency, kinds")
    kinds = tuple(_kind(f"{path}: {name}", str(name), path.parent, entry) for name, entry in found["kinds"].items())
    return Kinds(kinds, str(found.get("currency", "")))


def _kind(place: str, name: str, folder: Path, entry: Any) -> Kind:
    if not isinstance(entry, dict):
        raise CannotRun(f"{place}: expected {' and '.join(KEYS)}, got {entry!r}")
    if unknown := sorted(map(str, entry.keys() - set(KEYS))):
        raise CannotRun(f"{place}: unknown {unknown[0]!r}, known are: {', '.join(KEYS)}")
    if not isinstance(entry.get("profile"), str):
        raise CannotRun(f"{place}: profile must be the JSON file of `conch load profile` on such a server")
    price = entry.get("price_per_hour")
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < float("inf"):
        raise CannotRun(f"{place}: price_per_hour must be a number from 0 on, got {price!r}")
    return Kind(name, folder / entry["profile"], float(price))
