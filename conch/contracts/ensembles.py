"""Models that belong together: an ensemble, and the models of its steps, which are published and go live with it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch.contracts.errors import ConchError
from conch.contracts.golden import read_version_manifest
from conch.contracts.versions import versions

PART_OF = "part_of"
"""In the manifest of a step's model: the ensemble that it was published with."""


def parts(config: ModelConfig) -> dict[str, int]:
    """The models of an ensemble's steps with the version that it names, -1 for the newest; none of any other model."""
    return {step.model_name: step.model_version for step in config.ensemble_scheduling.step}


def parts_of(config: Path) -> dict[str, int]:
    """The same of a config.pbtxt; none of one that is not there or cannot be read, which is for others to say."""
    try:
        return parts(text_format.Parse(config.read_text(encoding="utf-8"), ModelConfig()))
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return {}


def whole_of(model: Path) -> str | None:
    """The ensemble that the newest version of the model in this folder was published with; None where it stands alone.

    Raises:
        GoldenError: its manifest is damaged.
    """
    newest = max(versions(model), default=None)
    found = read_version_manifest(model / str(newest)).get(PART_OF) if newest else None
    return found if isinstance(found, str) and found != model.name and (model.parent / found).is_dir() else None


def refuse_part(model: Path, command: str) -> None:
    """Raise a `ConchError` where the model in this folder is a part, with the command for the whole."""
    if (whole := whole_of(model)) is not None:
        raise ConchError(f"{model.name} is a part of {whole} and goes with it: {command} {whole}")
