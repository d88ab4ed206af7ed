"""Where checkpoints lie and what their manifests say; read without torch, which takes seconds to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.whole import recover


def checkpoint_folder(name: str) -> Path:
    """The checkpoint folder of a recipe."""
    return artifacts_folder() / "checkpoints" / name


def read_manifest(name: str) -> dict[str, Any]:
    """The manifest of a recipe's checkpoint.

    Raises:
        ConchError: there is no checkpoint (the message says which command makes it), or it is damaged.
    """
    path = checkpoint_folder(name) / "manifest.json"
    recover(path.parent)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        missing = [key for key in ("settings", "fingerprint", "sha256") if key not in manifest]
        if missing or "weights" not in manifest["sha256"]:
            raise ValueError(f"it lacks {', '.join(missing) or 'the hash of the weights'}")
    except FileNotFoundError:
        raise ConchError(f"no checkpoint in {path.parent}; make it with: conch train {name}") from None
    except (OSError, ValueError, TypeError) as error:
        raise ConchError(f"{path} cannot be read: {error}; make it again: conch train {name}") from error
    return manifest
