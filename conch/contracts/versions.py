"""The versions of a published model: which folders are some, and which is the newest."""

from __future__ import annotations

import re
from pathlib import Path

NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)


def is_version(name: str) -> bool:
    """Whether a folder of this name is one: a positive number without leading zeros; Triton ignores all others."""
    return NUMBER.fullmatch(name) is not None


def versions(model: Path) -> list[int]:
    """The version numbers in a model's folder, ascending; none where there is no such folder."""
    if not model.is_dir():
        return []
    return sorted(int(entry.name) for entry in model.iterdir() if is_version(entry.name) and entry.is_dir())


def latest_version(repository: Path, name: str) -> Path | None:
    """The folder of the highest version of model `name`, or None where there is none."""
    numbers = versions(repository / name)
    return repository / name / str(numbers[-1]) if numbers else None
