"""Where everything a run makes lies."""

from __future__ import annotations

import os
from pathlib import Path


def artifacts_folder() -> Path:
    """`CONCH_ARTIFACTS`, else `artifacts` in the working directory."""
    return Path(os.environ.get("CONCH_ARTIFACTS") or "artifacts")


def models_folder() -> Path:
    """The model repository that export fills and serve serves."""
    return artifacts_folder() / "models"
