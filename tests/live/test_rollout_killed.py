"""Rollouts and rollbacks that are killed at each of their steps: the server answers, and the next call repairs."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clients import connect
from conch.contracts.live import live_version
from serving.server.model_views import on_trial
from serving.server.running import Running
from tests.support.releases import FACTORS, TIMES, put, run, served

ROOT = Path(__file__).parents[2]
NEVER = 0
MOST_STEPS = 80


def rolled(artifacts: Path, way: str, last: int) -> tuple[int, list[str]]:
    """The exit code and the steps of one that is killed at step `last`."""
    state = artifacts / "server" / "state.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_rollout", state, TIMES, way, str(last)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout.splitlines()


def answered(server: Running) -> int:
    """The version that answers over both protocols, by its number and by what it computes."""
    found = set()
    for url in (server.http, f"grpc://{server.grpc}"):
        with connect(url) as client:
            factor = float(client.infer(TIMES, {"x": [[1.0, 1.0]]})["y"][0, 0])
            found.add(next(version for version, of in FACTORS.items() if of == factor))
    (version,) = found
    return version


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("way", "begins", "ends"), [("out", 1, 2), ("back", 2, 1)])
def test_killed_at_each_step(tmp_path: Path, way: str, begins: int, ends: int) -> None:
    artifacts = tmp_path / "artifacts"
    (artifacts / "models").mkdir(parents=True)
    model = artifacts / "models" / TIMES
    put(model.parent, 1)
    with served(artifacts) as server:
        put(model.parent, 2)
        assert rolled(artifacts, "out", NEVER)[0] == 0
        rolled(artifacts, "back", NEVER)
        steps: list[str] = []
        for last in range(1, MOST_STEPS):
            if begins == 2:
                rolled(artifacts, "out", NEVER)
            assert answered(server) == begins
            code, told = rolled(artifacts, way, last)
            if code == 0:
                break
            steps.append(told[-1])
            assert answered(server) in (begins, ends), steps[-1]
            assert live_version(model) in (begins, ends), steps[-1]
            assert rolled(artifacts, way, NEVER)[0] == 0, steps[-1]
            assert answered(server) == live_version(model) == ends, steps[-1]
            assert on_trial(Path(server.models), model.parent) == [], steps[-1]
            assert {entry.name for entry in model.iterdir()} >= {"1", "2", "config.pbtxt", "history.jsonl"}
            assert not [entry.name for entry in model.iterdir() if entry.name.startswith(".")], steps[-1]
            if begins == 1:
                rolled(artifacts, "back", NEVER)
        else:
            pytest.fail(f"it has more than {MOST_STEPS} steps")
    sys.stdout.write("\n".join([f"{len(steps)} steps", *steps, ""]))
    assert any("history.jsonl" in step for step in steps)
    assert any(step == f"load {TIMES} is asked for" for step in steps)
    assert run("history", TIMES, artifacts=artifacts)[0] == 0
