"""A model configuration as Triton hands it over: its protobuf's JSON, where 64-bit numbers are strings."""

from typing import Any

Config = dict[str, Any]
"""A model configuration, or a part of one, as Triton hands it over."""


def model_parameters(config: Config) -> dict[str, str]:
    """The `parameters` of a configuration."""
    return {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
