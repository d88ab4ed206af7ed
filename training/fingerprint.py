"""What a result was made from, as one hash: equal fingerprints mean that making it again would change nothing."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Hex digest of files' names and bytes, independent of the order given."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(f"{path.name} {sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def sha256_of_json(value: Mapping[str, Any]) -> str:
    """Hex digest of a JSON-ready value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def package_versions(*packages: str) -> dict[str, str]:
    """Installed versions by name, with Python's own."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def git_commit() -> str | None:
    """The commit the code was at, with "+" when it had been changed since; None outside a git checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")
