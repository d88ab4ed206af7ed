"""A repository to deploy, for the tests that write what runs it."""

import shutil
from pathlib import Path

import pytest

from tests.support.deployment import (
    workplace,
)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workplace(tmp_path_factory.mktemp("deploy"))


@pytest.fixture
def artifacts(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The artifacts folder of all tests here, which none changes."""
    monkeypatch.setenv("CONCH_ARTIFACTS", str(shared))
    return shared


@pytest.fixture
def own(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(shared, tmp_path / "artifacts")
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"
