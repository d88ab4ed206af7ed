"""What stops a load before it starts: exit code 3 and one line. Each has a forked process, for Locust patches it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadtest.compare import Compare
from loadtest.errors import CannotRun
from loadtest.search_commands import Capacity, Profile
from loadtest.soak import Soak
from tests.support.forked_commands import ForkedCommands

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


Load = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Runs `conch load` with these words, and with the artifacts folder `artifacts`."""
    with contextlib.closing(ForkedCommands("loadtest.__main__")) as commands:

        def run(*words: str, artifacts: Path) -> subprocess.CompletedProcess[str]:
            return commands.run("loadtest.__main__", *words, env={"CONCH_ARTIFACTS": str(artifacts)})

        yield run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "cnn", "--http", "127.0.0.1:1"], "no server at http://127.0.0.1:1"),
        (["run", "all", "--protocol", "grpc", "--grpc", "127.0.0.1:1"], "no server at grpc://127.0.0.1:1"),
        (["run", "cnn", "--http", "http://127.0.0.1:1"], "no server at http://127.0.0.1:1"),
        (
            ["run", "cnn", "--protocol", "grpc", "--grpc", "grpc://127.0.0.1:1"],
            "no server at grpc://127.0.0.1:1",
        ),
        (["run", "cnn", "--http", "grpc://127.0.0.1:1"], "--http grpc://127.0.0.1:1 is a grpc address, but http is"),
        (["run", "cnn", "--metrics", "nowhere"], "--metrics nowhere: expected host:port, for example localhost:8000"),
        (["promises", "--promises", "none.yaml"], "cannot read none.yaml"),
        (["run", "vit", "--http", "127.0.0.1:1"], "promises nothing about 'vit'; it knows: cnn"),
        (["run", "vit", "--http", "127.0.0.1:1"], "--promises FILE"),
        (["mix", "none.yaml"], "cannot read none.yaml"),
        (["mix", "tests/load/scenarios/mix.yaml", "--http", "127.0.0.1:1"], "no server at http://127.0.0.1:1"),
        (["capacity", "cnn", "--promise", "p50<fast"], "expected p50, p95 or p99 and a limit"),
    ],
)
def test_what_cannot_run_ends_with_three_and_a_line(
    load: Load, tmp_path: Path, arguments: list[str], words: str
) -> None:
    ended = load(*arguments, artifacts=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_no_other_end_has_the_exit_code_of_a_verdict(load: Load, tmp_path: Path) -> None:
    """Python's own code for an exception is 1, and that for a wrong flag 2."""
    assert load("run", "cnn", "--rat", "5", artifacts=tmp_path).returncode == 3
    assert load("run", "--help", artifacts=tmp_path).returncode == 0
    program = "import loadtest.__main__ as program; program.read_promises = None; exit(program.main(['promises']))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "TypeError" in ended.stderr


def test_promises_for_programs(load: Load, tmp_path: Path) -> None:
    ended = load("promises", "--json", artifacts=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert set(json.loads(ended.stdout)["cnn"]) == {"rate", "error_rate", "p50_ms", "p95_ms", "p99_ms"}
    assert load("promises", artifacts=tmp_path).stdout.startswith("model ")


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("number", [NAN, INFINITE, -INFINITE, 0.0, -1.0, 1e300])
@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (Capacity, {"--start", "--most", "--precision"}),
        (Profile, {"--start", "--most", "--factor"}),
        (Soak, {"--rate"}),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_before_a_server_is_asked(
    command: type, flags: set[str], number: float
) -> None:
    for flag in flags:
        with pytest.raises(CannotRun, match=f"{flag} .*: expected a number above"):
            command(model="cnn", http="127.0.0.1:1", **{flag[2:]: number}).run(Console())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"batch": 0}, "--batch 0: expected a number above 0, at most 100000"),
        ({"users": -1}, "--users -1: expected"),
        ({"users": 10**9}, "--users 1e.09: expected"),
        ({"check": NAN}, "--check nan: expected a number from 0 to 1"),
        ({"check": 1.5}, "--check 1.5: expected a number from 0 to 1"),
        ({"warmup": "-1s"}, "--warmup -1s: expected 20s, 2m or 1h30m"),
        ({"warmup": "nan"}, "--warmup nan: expected 20s, 2m or 1h30m"),
        ({"duration": "0s"}, "--duration 0: expected a number above 0"),
        ({"duration": "soon"}, "--duration soon: expected 20s, 2m or 1h30m"),
        ({"most_mib_per_hour": NAN}, "--most-mib-per-hour nan: expected a number from 0"),
    ],
)
def test_the_other_numbers_are_refused_too(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotRun, match=words):
        Soak(model="cnn", http="127.0.0.1:1", **flags).run(Console())


@pytest.mark.parametrize("tolerance", [NAN, INFINITE, -0.1])
def test_a_tolerance_that_cannot_be_meant_is_refused(tolerance: float) -> None:
    with pytest.raises(CannotRun, match=r"--tolerance .*: expected a number from 0"):
        Compare(a=Path("a"), b=Path("b"), tolerance=tolerance).run(Console())


@pytest.mark.parametrize("rate", ["nan", "-1"])
def test_a_rate_that_cannot_be_meant_ends_with_three_at_once(load: Load, tmp_path: Path, rate: str) -> None:
    ended = load("run", "cnn", "--rate", rate, artifacts=tmp_path)
    assert (ended.returncode, ended.stderr) == (3, f"error: --rate {rate}: expected a number above 0, at most 1e+06\n")


def test_plain_locust_refuses_them_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", "tests/load/locustfile.py", "--headless", "--rate", "nan"]
    environment = os.environ | {"CONCH_ARTIFACTS": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "error: --rate nan: expected a number above 0" in ended.stderr


def test_plain_locust_ends_with_three_where_there_is_nothing_to_send(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", "tests/load/locustfile.py", "--headless", "-t", "1s"]
    environment = os.environ | {"CONCH_ARTIFACTS": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "holds no version of cnn" in ended.stderr


def test_a_wrong_entry_is_named_beside_those_that_are_right(load: Load, tmp_path: Path) -> None:
    (tmp_path / "promises.yaml").write_text("mine: {rate: 5, error_rate: 0}\nwrong: {rate: 5}\n")
    ended = load("promises", "--json", artifacts=tmp_path)
    assert ended.returncode == 3
    assert {"mine", "cnn"} <= set(json.loads(ended.stdout))
    assert "wrong: 'error_rate' is missing" in ended.stderr
