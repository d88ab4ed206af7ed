"""Where checkpoints lie and what their manifests say; read without torch, which takes seconds to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.whole import recover

UNSCORED = ".unscored"
"""Behind a recipe's name: the checkpoint folder of weights whose score failed after training."""


def checkpoint_folder(name: str) -> Path:
    """The checkpoint folder of a recipe."""
    return artifacts_folder() / "checkpoints" / name


def state_file(name: str) -> Path:
    """Where a run of a recipe keeps its state from epoch to epoch."""
    return checkpoint_folder(name).with_name(f".{name}.state")


def unscored(name: str) -> dict[str, Any] | None:
    """The manifest of a recipe's weights that wait for their score; None where there are none, or older ones only."""
    try:
        waiting = _read(name + UNSCORED)
    except (OSError, ValueError, TypeError):
        return None
    try:
        return waiting if waiting["created"] >= _read(name)["created"] else None
    except (OSError, ValueError, TypeError, KeyError):
        return waiting


def how_to_score(name: str, recipe: str) -> str:
    """Where the weights of a recipe are that wait for their score, why, and the command that scores them."""
    why = (unscored(name) or {}).get("score_missing")
    return (
        f"{checkpoint_folder(name + UNSCORED)} has trained weights of {name} without a score ({why}); "
        f"mend the recipe's score, then: conch train {recipe} --score-only"
    )


def read_manifest(name: str, recipe: str | None = None) -> dict[str, Any]:
    """The manifest of a recipe's checkpoint.

    Args:
        name: of the checkpoint's folder.
        recipe: what a command line calls the recipe, where that is not its name.

    Raises:
        ConchError: there is no checkpoint (the message says which command makes it), or it is damaged.
    """
    path = checkpoint_folder(name) / "manifest.json"
    try:
        return _read(name)
    except FileNotFoundError:
        if unscored(name):
            raise ConchError(f"no checkpoint in {path.parent}: {how_to_score(name, recipe or name)}") from None
        raise ConchError(f"no checkpoint in {path.parent}; make it with: conch train {recipe or name}") from None
    except (OSError, ValueError, TypeError) as error:
        raise ConchError(f"{path} cannot be read: {error}; make it again: conch train {recipe or name}") from error


def _read(name: str) -> dict[str, Any]:
    path = checkpoint_folder(name) / "manifest.json"
    recover(path.parent)
    manifest: dict[str, Any] = json.loads(path.read_text())
    missing = [key for key in ("settings", "fingerprint", "sha256") if key not in manifest]
    if missing or "weights" not in manifest["sha256"]:
        raise ValueError(f"it lacks {', '.join(missing) or 'the hash of the weights'}")
    return manifest
