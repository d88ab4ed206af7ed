"""What a published model came from, by its newest version's manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conch.contracts.golden import read_version_manifest
from conch.contracts.versions import latest_version


def manifest_of(repository: Path, name: str) -> dict[str, Any]:
    """The newest version's manifest; empty where there is no such model, or it has none.

    Raises:
        GoldenError: it is damaged.
    """
    version = latest_version(repository, name)
    return read_version_manifest(version) if version else {}


def recipe_of(repository: Path, name: str) -> str | None:
    """The recipe that model `name` was exported from: also of a variant, and of what a recipe serves besides.

    Raises:
        GoldenError: its manifest is damaged.
    """
    recipe = manifest_of(repository, name).get("recipe")
    return recipe if isinstance(recipe, str) else None
