"""Read single values of a model configuration, each refused with its name, what it is and what is allowed.

A configuration comes as its protobuf's JSON, where 64-bit numbers are strings.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

Config = dict[str, Any]
"""A model configuration, or a part of one, as Triton hands it over."""

Meaning = TypeVar("Meaning")

SWITCHES = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


def parameters(config: Config) -> dict[str, str]:
    """The `parameters` of a configuration."""
    return {key: value["string_value"] for key, value in config.get("parameters", {}).items()}


def number(values: Mapping[str, str], key: str, most: int) -> int:
    """A value as a whole number between 0 and `most`; 0 where it is not set."""
    text = values.get(key, "0")
    if not (text.isascii() and text.isdecimal() and int(text) <= most):
        raise ValueError(f"parameter '{key}' is '{text}', allowed are 0 to {most}")
    return int(text)


def switch(values: Mapping[str, str], key: str, default: bool = True) -> bool:
    """A value as on or off; `default` where it is not set."""
    return default if key not in values else choice(values, key, SWITCHES)


def choice(values: Mapping[str, str], key: str, allowed: Mapping[str, Meaning]) -> Meaning:
    """What a value that is set means, one of `allowed`, in lower or upper case."""
    found = {spelling.lower(): meaning for spelling, meaning in allowed.items()}
    if values[key].lower() not in found:
        raise ValueError(f"parameter '{key}' is '{values[key]}', allowed are {', '.join(allowed)}")
    return found[values[key].lower()]
