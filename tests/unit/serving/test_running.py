"""Whether the server that a file tells of still runs is known in each container that sees the file."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch.contracts.owned import is_owned
from serving.errors import ServingError
from serving.server.running import Running, alone, running, stop_running
from tests.support.loads import ROOT
from tests.support.namespaces import OF_PROCESSES, processes_alone

SERVE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from serving.server.running import alone, recorded

file = Path(sys.argv[1])
server = SimpleNamespace(http="127.0.0.1:1", grpc="", metrics="", repository=file.parent, not_loaded=[])
with alone(file), recorded(file, server):
    print("up", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def serving(file: Path, *before: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that says in `file` that it serves; it ends when its standard input does."""
    with subprocess.Popen(
        [*before, sys.executable, "-c", SERVE, str(file)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "server" / "state.json"


@pytest.mark.parametrize("before", [(), pytest.param(OF_PROCESSES, marks=processes_alone)], ids=["here", "elsewhere"])
def test_it_is_found_for_as_long_as_it_lives(file: Path, before: tuple[str, ...]) -> None:
    with serving(file, *before) as process:
        found = running(file)
        assert isinstance(found, Running)
        assert (found.http, found.here) == ("127.0.0.1:1", not before)
        with pytest.raises(ServingError, match=r"a server is up already at http://127\.0\.0\.1:1 "), alone(file):
            pass
        process.kill()
        process.wait()
        with alone(file):  # which waits for a moment
            assert is_owned(file.parent)
            assert running(file) is None, "what a killed one left"
        assert not is_owned(file.parent)


def test_it_is_asked_to_end(file: Path) -> None:
    with serving(file) as process:
        assert stop_running(file).http == "127.0.0.1:1"
        assert process.wait(10) == -15
    with pytest.raises(ServingError, match="no server started by `conch serve` is running"):
        stop_running(file)


@processes_alone
def test_a_number_of_another_container_is_nobodys_here(file: Path) -> None:
    with serving(file, *OF_PROCESSES) as process:
        with pytest.raises(ServingError, match="another container or on another machine, as process 1 there"):
            stop_running(file)
        assert process.poll() is None
        assert running(file) is not None
