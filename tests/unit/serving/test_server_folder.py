"""A server's folder tells whose it is, and what a killed process left is removed at the next start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.server import processes
from serving.server.server_folder import make_server_folder


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = processes.start_time(other.pid)
        running = tmp_path / f"conch-server-{other.pid}-{started}-abc"
        reused = tmp_path / f"conch-server-{other.pid}-{(started or 0) - 1}-abc"
        foreign = tmp_path / "conch-server-of-somebody"
        mine = make_server_folder()
        for folder in (running, reused, foreign):
            (folder / "backends").mkdir(parents=True)
        second = make_server_folder()
        assert {entry.name for entry in tmp_path.iterdir()} == {f.name for f in (running, foreign, mine, second)}
        assert f"-{os.getpid()}-" in mine.name
        other.kill()
        other.wait()
    third = make_server_folder()
    assert {entry.name for entry in tmp_path.iterdir()} == {f.name for f in (foreign, mine, second, third)}
