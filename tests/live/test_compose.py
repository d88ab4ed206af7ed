"""All services of a file for Compose but Grafana, their commands as written, in a network of their own.

Models are pulled and served behind the guard, Prometheus reads both pages, and Locust's master and workers end as the
promise does. The names of the services are this machine's.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.commands.push import main as push
from serving.server.tritonserver import find_program, install
from tests.support.deployment import IMAGES, deployed, workplace
from tests.support.namespaces import alone, embedded, kit, placed, run_alone, until_healthy
from tests.support.nginx import INSTALL, PROGRAM

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason=INSTALL),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is missing: apt-get install prometheus"),
    alone,
]
TARGETS = """
import json, time, urllib.request as r
for _ in range(60):
    found = json.load(r.urlopen("http://127.0.0.1:9090/api/v1/targets"))["data"]["activeTargets"]
    if all(one["health"] != "unknown" for one in found):
        break
    time.sleep(0.5)
print("targets", json.dumps({one["labels"]["job"]: one["health"] + one["lastError"] for one in found}))
"""


def volumes(services: dict[str, Any], written: Path, folder: Path) -> dict[str, Path]:
    """Path in a container -> folder or file of this machine, of all mounts; a service's own mounts are no others'."""
    found: dict[str, Path] = {}
    for one in services.values():
        for mount in one.get("volumes", []):
            place = written / mount["source"] if mount["type"] == "bind" else folder / "volumes" / mount["source"]
            assert found.setdefault(mount["target"], place) == place
    for place in found.values():
        if not place.is_file():
            place.mkdir(parents=True, exist_ok=True)
    return found


def test_the_commands_of_a_file_for_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = workplace(tmp_path)
    monkeypatch.setenv("CONCH_ARTIFACTS", str(artifacts))
    (artifacts / "promises.yaml").write_text("affine: {rate: 150, error_rate: 0.05, p99_ms: 5000}\n")
    assert push([str(tmp_path / "volumes" / "store"), "affine"]) == 0
    written = deployed(
        "compose", tmp_path / "out", models={"affine": 1}, store=None, claim="store", probe_seconds=1, images=IMAGES,
        load={"model": "affine", "workers": 2, "seconds": 6, "results": "reports"},
    )  # fmt: skip
    services = yaml.safe_load((written / "compose.yaml").read_text())["services"]
    places = volumes(services, written, tmp_path)
    settings = places["/etc/conch/settings/promises.yaml"].parent  # Locust's file lies beside it
    words = {name: placed(one["command"], places) for name, one in services.items() if "command" in one}
    installed = install(find_program(), tmp_path)
    locust = {
        name: shlex.join([sys.executable, "-m", "locust", *words[name]]) for name in ("load-master", "load-worker")
    }
    script = [
        f"cd {settings}",
        kit(words["pull-0-affine"]),
        f"{kit(words['guard'])} 2> {tmp_path}/guard.log &",
        f"{embedded(words['triton'], installed)} > {tmp_path}/triton.log 2>&1 &",
        until_healthy("http://127.0.0.1:8003/health"),
        f"{shlex.join(['prometheus', *words['prometheus']])} 2> {tmp_path}/prometheus.log &",
        "until curl -sf http://127.0.0.1:9090/-/ready > /dev/null; do sleep 0.2; done",
        *[f"{locust['load-worker']} > {tmp_path}/worker.log 2>&1 &"] * services["load-worker"]["deploy"]["replicas"],
        f"code=0; {locust['load-master']} > {tmp_path}/master.log 2>&1 || code=$?",
        'echo "master $code"',
        f"{shlex.quote(sys.executable)} -c {shlex.quote(TARGETS)}",
    ]
    done = run_alone(script, installed, tmp_path, hosts=[*services])
    logs = "".join(f"\n{file.name}:\n{file.read_text()[-3000:]}" for file in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert '{"faults": {}}' in done.stdout, "the guard's page: golden requests are answered"
    assert "master 0\n" in done.stdout, "the promise was kept" + logs
    assert json.loads(done.stdout.split("targets ")[1]) == {"triton": "up", "conch": "up"}, logs
    report = json.loads((places["/results"] / "affine" / "run.json").read_text())
    assert report["verdict"] == "KEPT", "the report is on its volume"
