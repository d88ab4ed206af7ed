"""Runs of the load test as their users start them: processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import yaml

from conch.contracts.requests import read_requests
from serving.repository.configuration import parse
from serving.server.server import Server
from serving.tune.candidates import Candidate
from serving.tune.trial_server import trial_server

ROOT = Path(__file__).parents[2]


def start(server: Server, artifacts: Path, *arguments: str, module: str = "loadtest") -> subprocess.Popen[str]:
    """Begin a run against a server, with the golden answers in `artifacts`."""
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    environment = os.environ | {"CONCH_ARTIFACTS": str(artifacts)} | addresses
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output."""
    text, _ = process.communicate(timeout=120)
    return process.returncode, text


def result(process: subprocess.Popen[str], folder: Path) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and run.json."""
    code, text = ended(process)
    path = folder / "run.json"
    assert path.is_file(), text
    return code, text, json.loads(path.read_text())


def golden_of(artifacts: Path, folder: Path, *models: str) -> Path:
    """An artifacts folder of the test's own, with the golden answers of these models."""
    (folder / "models").mkdir(parents=True)
    for model in models:
        (folder / "models" / model).symlink_to(artifacts / "models" / model)
    return folder


def load_everything(
    server: Server, artifacts: Path, streams: dict[str, str] | None = None, uncompared: Container[str] = ()
) -> dict[str, Any]:
    """One load of all models in `artifacts`, over both protocols; run.json, in which `assert_all_right` found nothing.

    A model with states is among them where `streams` names the one that answers whole sequences for it.
    """
    models: dict[str, Any] = {}
    for folder in sorted(path for path in (artifacts / "models").iterdir() if (path / "config.pbtxt").is_file()):
        requests = read_requests(folder / "config.pbtxt")
        assert requests is not None
        part: dict[str, Any] = {"weight": 1, "protocol": {"http": 1, "grpc": 1}}
        if requests.in_sequences:
            if folder.name not in (streams or {}):
                continue
            part["stream"] = {"length": 3, "interval": 0.05, "answers_of": (streams or {})[folder.name]}
        elif requests.most_items >= 3:
            part["batch"] = {1: 1, 3: 1}
        models[folder.name] = part
    rate = 6 * len(models)
    scenario = {"duration": "3s", "warmup": "0s", "rate": rate, "models": models}
    (artifacts / "everything.yaml").write_text(yaml.safe_dump(scenario))
    promises = artifacts / "promises.json"  # which is YAML
    promises.write_text(json.dumps({model: {"rate": rate, "error_rate": 0} for model in models}))
    process = start(server, artifacts, "mix", str(artifacts / "everything.yaml"), "--promises", str(promises))
    _, text, run = result(process, artifacts / "report" / "load-mix" / "everything")
    assert_all_right(run, set(models), text, uncompared)
    return run


def assert_all_right(run: dict[str, Any], models: set[str], text: str, uncompared: Container[str] = ()) -> None:
    """Every answer of each of these models was compared, unless it could not be, and right."""
    assert {promise["model"]: promise["verdict"] for promise in run["promises"]} == dict.fromkeys(models, "KEPT"), text
    assert {part["model"] for part in run["parts"]} == models
    for part in run["parts"]:
        assert part["checked"] == (0 if part["model"] in uncompared else part["requests"]), part["model"]
        assert part["requests"] > 0, part["model"]
    # On a machine that is busy with other things the generator says so of itself, and of nothing else.
    assert {check["name"] for check in run["checks"] if not check["ok"]} <= {"late", "cpu"}, text


def tune_measures(repository: Path, models: Sequence[str], log: Path) -> None:
    """Each of these models is measured as `tune` measures every candidate: by a load in which one wrong answer is a
    LoadFailed."""
    with trial_server(repository, list(models), log) as trial:
        for model in models:
            current = Candidate.of(parse((repository / model / "config.pbtxt").read_text()))
            point = trial.measure(current, users=2, seconds=1)
            assert point.requests_per_s > 0, model
