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

from conch import PROJECT


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_code(names: Iterable[str], root: Path = PROJECT) -> str:
    """Hex digest of the bytes of code files under their paths relative to `root`, the folder of all packages.

    The files are named one by one: what is hashed does not change with what else lies in a folder, and a file that is
    moved or gone is an error and not a smaller hash.

    Raises:
        FileNotFoundError: a named file is not there.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name} {sha256_of_file(root / name)}\n".encode())
    return digest.hexdigest()


def sha256_of_json(value: Mapping[str, Any]) -> str:
    """Hex digest of a JSON-ready value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def package_versions(*packages: str) -> dict[str, str]:
    """Installed versions by name, with Python's own."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def git_commit(root: Path = PROJECT) -> str | None:
    """The commit the code was at, with "+" when it had been changed since; None where it is no checkout of its own.

    An installed package may lie in a virtual environment inside somebody's repository, whose commit says nothing of it.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
