"""`conch export module` on the networks of `networks.py`, from a folder of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.__main__ import main
from tests.support import networks

NETWORKS = Path(networks.__file__)

Module = Callable[..., tuple[int, str]]
"""Name of a network and words of the command to its exit code and what it says on standard error."""


def module_command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Module:
    """The command, run in `folder`."""
    monkeypatch.chdir(folder)

    def run(network: str, *words: str, name: str = "mine", batch: int = 3, file: Path = NETWORKS) -> tuple[int, str]:
        given = [f"{file}:{network}", "--name", name, "--max-batch", str(batch), *words]
        monkeypatch.setattr(sys, "argv", ["export", "module", *given])
        code = main()
        return code, capsys.readouterr().err

    return run


def published(artifacts: Path, name: str = "mine") -> tuple[dict[str, Any], dict[str, Any], Path]:
    """Manifest, parity and folder of the first version."""
    version = artifacts / "models" / name / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    return manifest, json.loads((version / "parity.json").read_text()), version
