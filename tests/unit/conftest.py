"""What unit tests share: an artifacts folder of their own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine says on standard error how far a command is: no test may depend on that."""
    monkeypatch.setattr("export.commands.progress.EVERY", 3600.0)


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty artifacts folder, used by everything the test calls."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("CONCH_ARTIFACTS", str(folder))
    return folder
