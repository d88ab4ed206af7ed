"""A server's folder is its process's own, and what a killed one left is removed at the next start."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.server.server_folder import server_folder
from tests.support.loads import ROOT
from tests.support.namespaces import OF_PROCESSES, processes_alone

HOLD = """
import sys
from serving.server.server_folder import server_folder
with server_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(home: Path, *before: str) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process with a folder in `home`; it ends when its standard input does."""
    command: Sequence[str] = [*before, sys.executable, "-c", HOLD]
    environment = {"TMPDIR": str(home), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    foreign = tmp_path / "conch-server-of-somebody"
    foreign.mkdir()
    with held(tmp_path) as (other, running), server_folder() as mine:
        with server_folder() as second:
            assert set(tmp_path.iterdir()) == {running, foreign, mine, second}
        assert set(tmp_path.iterdir()) == {running, foreign, mine}
        other.kill()
        other.wait()
        with server_folder() as third:
            assert set(tmp_path.iterdir()) == {foreign, mine, third}
    assert list(tmp_path.iterdir()) == [foreign]


@processes_alone
def test_the_folder_of_a_process_in_another_container_stays(tmp_path: Path) -> None:
    with held(tmp_path) as (_, outside), held(tmp_path, *OF_PROCESSES) as (_, inside), held(tmp_path) as (_, later):
        assert set(tmp_path.iterdir()) == {outside, inside, later}
