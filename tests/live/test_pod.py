"""The containers of a pod, their commands as written, one after the other in a network of their own."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from serving.commands.push import main as push
from serving.server.tritonserver import find_program, install
from tests.support.deployment import containers, deployed, workplace
from tests.support.namespaces import alone, embedded, kit, placed, run_alone, until_healthy
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = [pytest.mark.skipif(PROGRAM is None, reason=INSTALL), alone]


def run_pod(folder: Path) -> str:
    """What the pod's health said once it was up, and what a client got; the commands are those of the manifest.

    The paths of its volumes are folders of `folder`, and Triton's program is the embedded one.
    """
    deployment = yaml.safe_load((folder / "out" / "kubernetes" / "base" / "deployment.yaml").read_text())
    settings = folder / "settings"
    settings.mkdir()
    shutil.copy(folder / "out" / "kubernetes" / "base" / "promises.yaml", settings)
    places = {"/pulled": folder / "pulled", "/models": folder / "pulled" / "models", "/store": folder / "store"}
    (folder / "pulled").mkdir()
    words = {name: placed(one.get("args", []), places) for name, one in containers(deployment).items()}
    installed = install(find_program(), folder)
    script = [f"cd {settings}"]
    for name in words:
        if name.startswith("pull-"):
            script.append("VERSION=1 " + kit(words[name]).replace("'$(VERSION)'", "1"))
    script += [
        f"{kit(words['guard'])} 2> {folder}/guard.log &",
        f"{embedded(words['triton'], installed)} > {folder}/triton.log 2>&1 &",
        until_healthy("http://127.0.0.1:8003/health"),
        kit(["call", "status", "--url", "http://127.0.0.1:8000", "--json"]),
    ]
    done = run_alone(script, installed, folder)
    logs = "".join(
        (folder / name).read_text()[-1500:] for name in ("guard.log", "triton.log") if (folder / name).exists()
    )
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout


def test_the_commands_of_a_pod_pull_guard_and_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = workplace(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts))
    assert push([str(tmp_path / "store"), "affine"]) == 0
    deployed("kubernetes", tmp_path / "out", models={"affine": 1}, store=None, claim="models", probe_seconds=1)
    output = run_pod(tmp_path)
    assert '{"faults": {}}' in output
    assert re.search(r'"name": "affine"|"model": "affine"', output), "the guard's clients are answered"
