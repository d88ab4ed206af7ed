"""What `conch publish` and `conch export` say is to be done for a version to go live."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from conch.contracts.live import Decision, decide
from serving.rollout.going_live import how_to_go_live
from serving.server.running import VARIABLE, Running, alone


@pytest.fixture
def newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Version 2 of a model, and no server."""
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    for version in (1, 2):
        (tmp_path / "models" / "scale" / str(version)).mkdir(parents=True)
    return tmp_path / "models" / "scale" / "2"


@contextmanager
def served(file: Path, repository: Path, models: str) -> Iterator[None]:
    """As if this process served the repository."""
    server = Running(os.getpid(), 0, "", "", "", str(repository), models=models)
    with alone(file):
        file.write_text(json.dumps(asdict(server)))
        yield


@pytest.mark.parametrize("around", [False, True], ids=["beside it", "around it"])
@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("/models", "a server is up; to make it live there: conch rollout scale"),
        ("", "a server is up, which has the version before: start it again"),
    ],
)
def test_with_a_server_over_its_repository(
    newest: Path, monkeypatch: pytest.MonkeyPatch, around: bool, models: str, said: str
) -> None:
    file = newest.parents[2] / ("elsewhere" if around else "server") / "state.json"
    if around:  # as where `conch serve -- conch export scale` runs the command
        monkeypatch.setenv(VARIABLE, str(file))
    with served(file, newest.parents[1], models):
        assert how_to_go_live(newest) == said
    with served(file, newest.parents[2], models):
        assert how_to_go_live(newest) is None, "of another repository"


def test_without_a_server(newest: Path) -> None:
    assert how_to_go_live(newest) is None, "the next start serves it"
    decide(newest.parent, Decision(1, 2, "rollback"))
    assert how_to_go_live(newest) == "version 1 is live by its history; with a server up: conch rollout scale"
