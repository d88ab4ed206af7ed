"""What stops a load before it starts: exit code 3 and one line. Each has a process, for Locust patches it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def load(*arguments: str, artifacts: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CONCH_ARTIFACTS": str(artifacts)}
    command = [sys.executable, "-m", "tests.load", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "cnn", "--http", "127.0.0.1:1"], "no server answers at http://127.0.0.1:1"),
        (["run", "all", "--protocol", "grpc", "--grpc", "127.0.0.1:1"], "no server answers at grpc://127.0.0.1:1"),
        (["promises", "--promises", "none.yaml"], "cannot read none.yaml"),
    ],
)
def test_what_cannot_run_ends_with_three_and_a_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    ended = load(*arguments, artifacts=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_plain_locust_ends_with_three_where_there_is_nothing_to_send(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", "tests/load/locustfile.py", "--headless", "-t", "1s"]
    environment = os.environ | {"CONCH_ARTIFACTS": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "holds no version of cnn" in ended.stderr
