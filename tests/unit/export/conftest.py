"""The command `conch export module`."""

from pathlib import Path

import pytest

from tests.support.module_command import Module, module_command


@pytest.fixture
def module(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Module:
    """Run it from another folder than the project's."""
    return module_command(tmp_path, monkeypatch, capsys)
