"""The containers of a pod, their commands as written, one after the other in a network of their own."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conch.command_line import program
from serving.commands.push import main as push
from serving.server.tritonserver import find_program, install
from tests.support.deployment import containers, deployed, workplace
from tests.support.nginx import INSTALL, PROGRAM

ROOT = Path(__file__).parents[2]
# Root's own user, for nginx gives up its rights to another.
NAMESPACES = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
ALLOWED = subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode == 0

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason=INSTALL),
    pytest.mark.skipif(not ALLOWED, reason="only root makes a network of its own"),
]


def run_pod(folder: Path) -> str:
    """What the pod's health said once it was up, and what a client got; the commands are those of the manifest.

    The paths of its volumes are folders of `folder`, and Triton's program is the embedded one.
    """
    deployment = yaml.safe_load((folder / "out" / "kubernetes" / "base" / "deployment.yaml").read_text())
    all_of = containers(deployment)
    settings = folder / "settings"
    settings.mkdir()
    shutil.copy(folder / "out" / "kubernetes" / "base" / "promises.yaml", settings)
    places = {"/pulled": folder / "pulled", "/models": folder / "pulled" / "models", "/store": folder / "store"}
    (folder / "pulled").mkdir()
    installed = install(find_program(), folder)

    def words(name: str) -> str:
        pattern = rf"(^|=)({'|'.join(places)})(?=/|$)"
        given = [re.sub(pattern, lambda m: m[1] + str(places[m[2]]), word) for word in all_of[name].get("args", [])]
        if name == "triton":
            return shlex.join([str(installed.program), f"--backend-directory={installed.backends}", *given[1:]])
        return shlex.join(program("conch", *given))

    ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
    health = f"{shlex.quote(sys.executable)} -c {shlex.quote(ask)} http://127.0.0.1:8003/health"
    call = shlex.join(program("conch", "call", "status", "--url", "http://127.0.0.1:8000", "--json"))
    script = ["set -e", "ip link set lo up", f"cd {settings}"]
    for name in all_of:
        if name.startswith("pull-"):
            script.append("VERSION=1 " + words(name).replace("'$(VERSION)'", "1"))
    script += [
        f"{words('guard')} 2> {folder}/guard.log &",
        f"{words('triton')} > {folder}/triton.log 2>&1 &",
        f"for _ in $(seq 120); do if {health} 2> /dev/null; then break; fi; sleep 0.5; done",
        call,
    ]
    environment = {**installed.environment, "CONCH_ARTIFACTS": str(folder / "conch"), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join([environment["PATH"], "/usr/sbin", "/sbin"])
    done = subprocess.run(
        [*NAMESPACES, "bash", "-c", "\n".join(script)], env=environment, capture_output=True, text=True, timeout=150,
        check=False,
    )  # fmt: skip
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
