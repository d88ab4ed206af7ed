"""What unit tests share: an artifacts folder of their own."""

from pathlib import Path

import pytest


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty artifacts folder, used by everything the test calls."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("CONCH_ARTIFACTS", str(folder))
    return folder
