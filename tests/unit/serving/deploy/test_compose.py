"""`conch deploy compose`: what Compose takes, whose parts find each other, and whose Prometheus reads its file."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving.commands.deploy import main
from tests.support.deployed import DASHBOARD, RULES
from tests.support.deployment import CONCH, DIGEST, IMAGES, check_compose, deployed, write_choices

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt-get install prometheus")
LOAD = {"load": {"model": "affine", "workers": 3, "seconds": 30, "results": "reports"}}
PLACES: dict[str, dict[str, Any]] = {
    "least": {},
    "full": {"tls": "certificate", "tokens": "tokens", "store_secret": "aws", "compose": {"host": "0.0.0.0"}},
    "claim and load": {"store": None, "claim": "pushed", **LOAD},
    "image": {"store": None, "models_in_image": True, **LOAD},
}


def composed(out: Path, **changes: Any) -> dict[str, Any]:
    """What `deploy/compose/compose.yaml` says."""
    folder = deployed("compose", out, **{"images": IMAGES, **changes})
    found: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text())
    return found


@pytest.mark.parametrize("changes", PLACES.values(), ids=PLACES)
def test_it_is_what_compose_takes_and_all_that_it_names_is_there(
    changes: dict[str, Any], artifacts: Path, tmp_path: Path
) -> None:
    document, folder = composed(tmp_path / "out", **changes), tmp_path / "out" / "compose"
    check_compose(document)
    check_compose(yaml.safe_load((folder / "gpu.yaml").read_text()))
    services = document["services"]
    for name, one in services.items():
        assert one["image"].endswith(DIGEST), name
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"]), name
        assert one.get("user") == (None if name in ("prometheus", "grafana") else "1000:1000"), "theirs are no root"
        assert set(one.get("networks", [])) <= set(document["networks"])
        assert one.get("network_mode", "none") in ("none", "service:server")
        for other, wanted in one.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or "healthcheck" in services[other]
            assert wanted["condition"] != "service_completed_successfully" or services[other]["restart"] == "no"
            assert "load" in one.get("profiles", ["load"]) or "profiles" not in services[other]
        for mount in one.get("volumes", ()):
            if mount["type"] == "volume":
                assert mount["source"] in document["volumes"]
            elif not mount["source"].startswith("./secrets/"):
                assert (folder / mount["source"]).is_file()
        host = changes.get("compose", {}).get("host", "127.0.0.1") if name == "server" else "127.0.0.1"
        assert all(port.startswith(f"{host}:") for port in one.get("ports", [])), "nothing else is open to a network"
    assert set(yaml.safe_load((folder / "gpu.yaml").read_text())["services"]) <= set(services)


def test_the_schema_finds_what_is_wrong(artifacts: Path, tmp_path: Path) -> None:
    document = composed(tmp_path / "out")
    document["services"]["triton"]["shmsize"] = "64m"
    with pytest.raises(jsonschema.ValidationError, match="shmsize"):
        check_compose(document)


def test_a_pod_and_a_machine_run_the_same_commands(artifacts: Path, tmp_path: Path) -> None:
    """But for the place of the models, which a container of Compose mounts as a whole."""
    services = composed(tmp_path / "out")["services"]
    base = deployed("kubernetes", tmp_path / "out", images=IMAGES) / "base"
    spec = yaml.safe_load((base / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    for one in [*spec["initContainers"], *spec["containers"]]:
        there = services[one["name"]]
        assert there["image"] == one["image"]
        assert there.get("entrypoint") == one.get("command")
        said = [word.replace("/pulled/models", "/models") for word in there["command"]]
        if one["name"].startswith("pull-"):
            said[said.index("--version") + 1] = "$(VERSION)"
            said[said.index("/models")] = "/pulled/models"
        assert said == one["args"]
    assert services["guard"]["healthcheck"]["retries"] == spec["containers"][0]["readinessProbe"]["failureThreshold"]


def test_other_versions_have_another_volume_and_other_files_another_container(own: Path, tmp_path: Path) -> None:
    before = composed(tmp_path / "out")
    assert composed(tmp_path / "out") == before
    after = composed(tmp_path / "out", models={"affine": 1, "classify": 1})
    assert before["volumes"]["models"] != after["volumes"]["models"], "Triton would serve what is newest in it"
    (own / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 200}\n")
    told = composed(tmp_path / "out")
    changed = [name for name in told["services"] if told["services"][name] != before["services"][name]]
    assert changed == ["guard"]
    in_image = {"store": None, "models_in_image": True}
    other = {**IMAGES, "triton": IMAGES["triton"].replace("0123", "4567", 1)}
    volumes = [composed(tmp_path / "out", images=images, **in_image)["volumes"]["models"] for images in (IMAGES, other)]
    assert volumes[0] != volumes[1], "the other image's models are others"


def test_a_dollar_is_one(artifacts: Path, tmp_path: Path) -> None:
    document = composed(tmp_path / "out", store="s3://bucket/$HOME/models")
    assert "s3://bucket/$$HOME/models" in document["services"]["pull-0-affine"]["command"]


def test_a_load_test_ends_as_its_promise_does(artifacts: Path, tmp_path: Path) -> None:
    services = composed(tmp_path / "out", **LOAD)["services"]
    master, worker = services["load-master"], services["load-worker"]
    words = master["command"]
    for flag, value in (("--expect-workers", "3"), ("--rate", "10"), ("--http", "http://server:8000"), ("-t", "30s")):
        assert words[words.index(flag) + 1] == value
    assert worker["deploy"]["replicas"] == 3
    assert worker["command"][worker["command"].index("--master-host") + 1] == "load-master"
    assert {one["target"] for one in master["volumes"] if not one["read_only"]} == {"/results"}
    assert master["restart"] == worker["restart"] == "no", "a second try would be another measurement"


@promtool
@pytest.mark.parametrize("secrets", [{}, {"tls": "certificate", "tokens": "tokens"}], ids=["open", "guarded"])
def test_prometheus_reads_its_file(secrets: dict[str, str], artifacts: Path, tmp_path: Path) -> None:
    composed(tmp_path / "out", **secrets)
    folder = tmp_path / "out" / "compose"
    token = tmp_path / "token"
    token.write_text("secret")
    file = folder / "prometheus.yaml"
    config = yaml.safe_load(file.read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert {name: job["static_configs"][0]["targets"] for name, job in jobs.items()} == {
        "triton": ["server:8002"], "conch": ["server:8003"],
    }  # fmt: skip
    assert jobs["triton"].get("scheme") == ("https" if secrets else None)
    assert "scheme" not in jobs["conch"], "the page of the supervisor is no part of the guard"
    file.write_text(file.read_text().replace("/etc/prometheus/token", str(token)))
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 1 rule files found" in done.stdout
    assert (folder / "alerts.yaml").read_text() == RULES.read_text()


def test_grafana_finds_its_dashboard_and_where_its_figures_are(artifacts: Path, tmp_path: Path) -> None:
    services, folder = composed(tmp_path / "out")["services"], tmp_path / "out" / "compose"
    mounts = {one["source"]: one["target"] for one in services["grafana"]["volumes"]}
    assert json.loads((folder / "dashboard.json").read_text()) == json.loads(DASHBOARD.read_text())
    (provider,) = yaml.safe_load((folder / "dashboards.yaml").read_text())["providers"]
    assert mounts["./dashboard.json"].startswith(provider["options"]["path"] + "/")
    (source,) = yaml.safe_load((folder / "datasource.yaml").read_text())["datasources"]
    asked = next(one for one in json.loads(DASHBOARD.read_text())["templating"]["list"] if one["type"] == "datasource")
    assert (source["type"], source["isDefault"]) == (asked["query"], True), "which the dashboard takes by itself"
    assert source["url"] == "http://prometheus:9090"
    assert set(services["grafana"]["networks"]) <= set(services["prometheus"]["networks"])


@pytest.mark.parametrize("missing", ["prometheus", "grafana"])
def test_an_image_that_is_missing_is_named(
    missing: str, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write_choices(tmp_path / "out", images={name: image for name, image in IMAGES.items() if name != missing})
    assert main(["compose", "--out", str(out)]) == 1
    assert f"images.{missing} is needed" in capsys.readouterr().err
    assert not (out / "compose").exists()


def test_drift_is_told(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    composed(out)
    write_choices(out, images={**IMAGES, "conch": CONCH.replace("0.1.0", "0.2.0")})
    capsys.readouterr()
    assert main(["check", str(out)]) == 1
    assert "compose/compose.yaml: services.guard.image is 'registry.example/conch:0.1.0" in capsys.readouterr().out
