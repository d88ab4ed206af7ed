"""Which version a rollback makes live, with a server that only says what it has: no load is asked for."""

import os
from pathlib import Path
from typing import Any

import pytest

from conch.contracts.live import Decision, decide, live_version
from serving.errors import ServingError
from serving.rollout.rollout import Rollout
from serving.server.running import Running

OUT_2, OUT_3 = Decision(2, 1, "rollout"), Decision(3, 2, "rollout")
TAKEN_BACK = Decision(3, 3, "taken back", tried=4)


class Loaded:
    """The server's control, which has these versions ready."""

    def __init__(self, *versions: int) -> None:
        self.versions = list(versions)

    def ready_versions(self, model: str) -> list[int]:
        return self.versions


class Recording(Rollout):
    """Switches to what it is told, and does nothing else."""

    def _switch(self, version: int, live: int | None) -> None:
        self._control.versions[:] = [version]  # type: ignore[attr-defined]


def rolled_back(folder: Path, history: list[Decision], loaded: tuple[int, ...], version: int | None = None) -> int:
    model = folder / "scale"
    for number in (1, 2, 3, 4):
        (model / str(number)).mkdir(parents=True)
        (model / str(number) / "model.onnx").touch()
    for decision in history:
        decide(model, decision)
    server = Running(os.getpid(), 0, "", "", "", str(folder), models=str(folder / "views"))
    control: Any = Loaded(*loaded)
    result = Recording(server, control, "scale", lambda _: None).roll_back(version, "")
    assert live_version(model) == result.version == max(control.versions)
    return result.version


@pytest.mark.parametrize(
    ("history", "loaded", "version"),
    [
        ([], (3, 4), 3),
        ([OUT_2, OUT_3], (2, 3), 2),
        ([OUT_2, OUT_3, TAKEN_BACK], (2, 3), 2),
        ([OUT_2, Decision(4, 2, "rollout")], (2, 4), 2),
        ([OUT_2, OUT_3], (1, 2), 2),  # a rollback that was killed before it was written down
        ([OUT_2], (2, 3), 2),  # a rollout that was
    ],
)
def test_to_the_version_that_was_live_before(
    tmp_path: Path, history: list[Decision], loaded: tuple[int, ...], version: int
) -> None:
    assert rolled_back(tmp_path, history, loaded) == version


def test_a_first_one_that_was_killed_is_written_down_by_the_next(tmp_path: Path) -> None:
    assert rolled_back(tmp_path, [], (1, 2), version=2) == 2


def test_there_has_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no version before 1 to go back to; published: 1, 2, 3, 4"):
        rolled_back(tmp_path, [], (1,))
