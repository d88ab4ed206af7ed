"""Which models this server was scored on before, as published: `conch report score --if-changed` leaves them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clients import Client
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.fingerprint import sha256_of_file
from conch.contracts.golden import read_version_manifest
from conch.contracts.live import config_file
from conch.contracts.published import manifest_of, recipe_of


def judged_by(version: Path) -> dict[str, Any]:
    """What a live score of a published version depends on: its file, configuration, and the code and data of its recipe
    (the fingerprint of its export).

    Raises:
        GoldenError: its manifest is damaged.
    """
    manifest = read_version_manifest(version)
    return {
        "onnx_sha256": manifest["sha256"]["onnx"],
        "config_sha256": sha256_of_file(config_file(version.parent, int(version.name))),
        "fingerprint": manifest.get("fingerprint"),
    }


def is_scored(client: Client, name: str) -> bool:
    """Whether all that recipe or variant `name` serves was scored in the versions that this server has, without a
    difference."""
    repository = artifacts_folder() / "models"
    variant = manifest_of(repository, name).get("precision", "fp32") != "fp32"
    folders = [repository / name] if variant else sorted(repository.iterdir())
    served = [folder.name for folder in folders if variant or _is_of(repository, folder.name, name)]
    return bool(served) and all(_is_scored(client, repository / model) for model in served)


def _is_of(repository: Path, model: str, recipe: str) -> bool:
    """Whether recipe `recipe` serves `model` in full precision, and scores it."""
    manifest = manifest_of(repository, model)
    return (
        recipe_of(repository, model) == recipe
        and manifest.get("precision", "fp32") == "fp32"
        and bool(manifest.get("score", {}).get("onnx"))
    )


def _is_scored(client: Client, folder: Path) -> bool:
    version = folder / client.metadata(folder.name).versions[-1]
    try:
        kept = json.loads((artifacts_folder() / "report" / "live" / f"{folder.name}.json").read_text())
        now = judged_by(version) | {"version": int(version.name), "server": " ".join(client.server())}
        return kept["differences"] == [] and all(kept[key] == value for key, value in now.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
