"""Runs of the load test as their users start them: processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from serving.server.server import Server

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
