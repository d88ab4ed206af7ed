"""`conch deploy kubernetes`: what is written is what Kubernetes takes, and made of what is known."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conch.contracts.promises import Promise
from serving.commands.deploy import main
from serving.deploy.facts import Served
from serving.deploy.kubernetes import canary_replicas
from serving.deploy.scaling import METRIC, QUERY
from serving.repository.configuration import parse, render
from serving.server.server import STOP_SECONDS
from tests.support.deployed import RULES
from tests.support.deployment import (
    check_core,
    check_monitoring,
    containers,
    deployed,
    kubectl,
    kustomized,
    of_kind,
    write_choices,
)
from tests.support.text_ensembles import publish_text

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt-get install prometheus")


FULL: dict[str, Any] = {
    "namespace": "models", "tls": "certificate", "tokens": "tokens", "clients": ["apps"], "store_secret": "aws",
    "service_account": "reader",
    "ingress": {"host": "models.example", "namespace": "edge", "controller": "nginx", "certificate": "outside"},
    "canary": {"models": {"classify": 1}, "percent": 20}, "surge": 0,
}  # fmt: skip


PLACES: dict[str, dict[str, Any]] = {
    "least": {}, "full": FULL, "claim": {"store": None, "claim": "models"},
    "image": {"store": None, "models_in_image": True},
}  # fmt: skip


@kubectl
@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["cpu", "gpu", "mig"])
@pytest.mark.parametrize("changes", PLACES.values(), ids=PLACES)
def test_what_is_applied_is_what_kubernetes_takes(
    overlay: str, changes: dict[str, Any], artifacts: Path, tmp_path: Path
) -> None:
    objects = kustomized(deployed("kubernetes", tmp_path / "out", **changes) / "overlays" / overlay)
    kinds = [one["kind"] for one in objects]
    for one in objects:
        (check_monitoring if "monitoring" in one["apiVersion"] else check_core)(one)
        assert one["metadata"].get("namespace") == changes.get("namespace"), "kustomize's"
    assert {"Service", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"} < set(kinds)
    assert {"ServiceMonitor", "PrometheusRule", "Deployment", "ConfigMap"} < set(kinds)
    device = {"cpu": None, "gpu": "nvidia.com/gpu", "mig": "nvidia.com/mig-1g.10gb"}[overlay]
    assert kinds.count("Deployment") == (2 if "canary" in changes else 1)
    for deployment in (one for one in objects if one["kind"] == "Deployment"):
        limits = containers(deployment)["triton"]["resources"]["limits"]
        assert limits == {"memory": "2Gi", **({device: 1} if device else {})}


@pytest.mark.slow
def test_the_schemas_find_what_is_wrong(artifacts: Path, tmp_path: Path) -> None:
    folder = deployed("kubernetes", tmp_path / "out") / "base"
    deployment = yaml.safe_load((folder / "deployment.yaml").read_text())
    check_core(deployment)
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(Exception, match="livenesProbe"):
        check_core(deployment)
    monitor = yaml.safe_load((folder / "service-monitor.yaml").read_text())
    monitor["spec"]["endpoints"][0]["intervall"] = "1s"
    with pytest.raises(AssertionError, match="intervall"):
        check_monitoring(monitor)


class TestPod:
    @pytest.fixture
    def deployment(self, artifacts: Path, tmp_path: Path) -> dict[str, Any]:
        folder = deployed("kubernetes", tmp_path / "out", **{**FULL, "canary": None})
        found: dict[str, Any] = yaml.safe_load((folder / "base" / "deployment.yaml").read_text())
        return found

    def test_models_are_pulled_then_guarded_then_served(self, deployment: dict[str, Any]) -> None:
        all_of = containers(deployment)
        assert list(all_of) == ["pull-0-affine", "pull-1-classify", "guard", "triton"]
        assert all_of["guard"]["restartPolicy"] == "Always", "a sidecar, which starts first and ends last"
        words = all_of["pull-1-classify"]["args"]
        assert words == [
            "pull", "s3://bucket/models", "classify", "--version", "$(VERSION)", "--repository", "/pulled/models",
        ]  # fmt: skip
        version = all_of["pull-1-classify"]["env"][0]["valueFrom"]["configMapKeyRef"]
        assert version == {"name": "conch-versions", "key": "classify"}
        assert all_of["pull-0-affine"]["envFrom"] == [{"secretRef": {"name": "aws"}}]

    def test_nobody_is_root_and_nothing_is_writable_but_volumes(self, deployment: dict[str, Any]) -> None:
        spec = deployment["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for name, one in containers(deployment).items():
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {mount["name"] for mount in one["volumeMounts"]} <= set(volumes)
            writable = {mount["mountPath"] for mount in one["volumeMounts"] if not mount.get("readOnly")}
            assert writable <= {"/tmp", "/dev/shm", "/pulled"}, name
            assert re.search("@sha256:", one["image"])
        assert volumes["shm"]["emptyDir"] == {"sizeLimit": "64Mi", "medium": "Memory"}
        assert volumes["tokens"]["secret"] == {"secretName": "tokens", "defaultMode": 0o440}

    def test_probes_ask_the_page_that_knows_golden_answers(self, deployment: dict[str, Any]) -> None:
        triton, guard = containers(deployment)["triton"], containers(deployment)["guard"]
        page = next(port["containerPort"] for port in guard["ports"] if port["name"] == "page")
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert triton[kind]["httpGet"] == {"path": "/health", "port": page}
            assert triton[kind]["periodSeconds"] == 10
        assert triton["startupProbe"]["failureThreshold"] == 60
        assert triton["readinessProbe"]["failureThreshold"] < triton["livenessProbe"]["failureThreshold"]
        wait = triton["lifecycle"]["preStop"]["sleep"]["seconds"] + STOP_SECONDS
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > wait

    def test_triton_is_on_loopback_behind_the_guard(self, deployment: dict[str, Any]) -> None:
        triton, guard = containers(deployment)["triton"]["args"], containers(deployment)["guard"]["args"]
        assert {word for word in triton if "address" in word} == {
            f"--{service}-address=127.0.0.1" for service in ("http", "grpc", "metrics")
        }
        for service, port in (("http", "9000"), ("grpc", "9001"), ("metrics", "9002")):
            assert f"--{service}-port={port}" in triton
            assert guard[guard.index(f"--triton-{service}") + 1] == f"127.0.0.1:{port}"
        assert "--disable-auto-complete-config" in triton, "what the launcher says of these configurations"
        assert guard[guard.index("--token-file") + 1] == "/etc/conch/tokens/tokens"


class TestFacts:
    def test_instances_threads_and_shared_memory_are_the_configurations(self, own: Path, tmp_path: Path) -> None:
        file = own / "models" / "affine" / "config.pbtxt"
        config = parse(file.read_text())
        config.instance_group[0].count = 3
        config.parameters["intra_op_thread_count"].string_value = "2"
        config.max_batch_size = 64
        config.input[0].dims[:] = [1 << 16]
        file.write_text(render(config))
        folder = deployed("kubernetes", tmp_path / "out")
        deployment = yaml.safe_load((folder / "base" / "deployment.yaml").read_text())
        assert containers(deployment)["triton"]["resources"]["requests"]["cpu"] == "8", "3 x 2 and 2 x 1"
        volumes = {one["name"]: one for one in deployment["spec"]["template"]["spec"]["volumes"]}
        size = int(volumes["shm"]["emptyDir"]["sizeLimit"].removesuffix("Mi"))
        assert size % 64 == 0
        assert size >= 3 * 2 * 64 * 4 / 16, "three instances, in and out, 64 items of 256 KiB"
        patch = yaml.safe_load((folder / "overlays" / "gpu" / "kustomization.yaml").read_text())["patches"][0]["patch"]
        (triton,) = yaml.safe_load(patch)["spec"]["template"]["spec"]["containers"]
        assert triton["resources"]["requests"]["cpu"] == "5", "a thread an instance feeds the GPU"

    def test_sessions_that_take_all_cores_need_to_be_told_how_many(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = own / "models" / "affine" / "config.pbtxt"
        file.write_text(file.read_text().replace('string_value: "1"', 'string_value: "0"', 1))
        config = parse(file.read_text())
        config.parameters["intra_op_thread_count"].string_value = "0"
        file.write_text(render(config))
        assert main(["kubernetes", "--out", str(write_choices(tmp_path / "out"))]) == 1
        assert "cpus: a session of 'affine' takes all cores" in capsys.readouterr().err
        assert main(["kubernetes", "--out", str(write_choices(tmp_path / "out", cpus=4))]) == 0

    def test_memory_is_what_a_load_test_measured_and_half_more(self, own: Path, tmp_path: Path) -> None:
        for model, mib in (("affine", 300), ("classify", 700)):
            run = own / "report" / "load" / model / "run.json"
            run.parent.mkdir(parents=True)
            run.write_text(json.dumps({"server": {"samples": [{"rss_bytes": mib << 20}, {"t": 1}]}}))
        folder = deployed("kubernetes", tmp_path / "out", memory=None)
        deployment = yaml.safe_load((folder / "base" / "deployment.yaml").read_text())
        assert containers(deployment)["triton"]["resources"]["limits"]["memory"] == "1280Mi"

    def test_a_promise_bounds_the_mean_wait(self) -> None:
        config = parse('name: "a"')
        served = Served("a", 1, config, 0, Promise(rate=1, error_rate=0, p99_ms=100))
        assert served.longest_mean_wait_us == 10857, "half of 100 ms, over ln 100"
        assert Served("a", 1, config, 0, None).longest_mean_wait_us == 108574, "of a second"


class TestScaling:
    @promtool
    def test_the_metric_is_the_mean_wait_of_a_request(self, tmp_path: Path) -> None:
        """As the adapter fills the query in, over series of two pods, of which one is idle."""
        query = QUERY.format(matchers='model="cnn",namespace="n"', by="pod", window="2m")
        series = [
            {"series": f'nv_inference_{name}{{model="cnn",namespace="n",pod="{pod}",version="1"}}', "values": values}
            for name, pod, values in (
                ("queue_duration_us", "a", "0+60000x10"), ("request_success", "a", "0+6x10"),
                ("queue_duration_us", "b", "5x10"), ("request_success", "b", "7x10"),
            )
        ]  # fmt: skip
        wanted = [{"labels": '{pod="a"}', "value": 10_000}, {"labels": '{pod="b"}', "value": 0}]
        test = {
            "tests": [
                {
                    "interval": "30s",
                    "input_series": series,
                    "promql_expr_test": [{"expr": query, "eval_time": "5m", "exp_samples": wanted}],
                }
            ]
        }
        file = tmp_path / "test.yaml"
        file.write_text(yaml.safe_dump(test))
        done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_each_model_scales_by_its_own_promise(self, artifacts: Path, tmp_path: Path) -> None:
        folder = deployed("kubernetes", tmp_path / "out")
        spec = yaml.safe_load((folder / "base" / "autoscaler.yaml").read_text())["spec"]
        metrics = {one["pods"]["metric"]["selector"]["matchLabels"]["model"]: one["pods"] for one in spec["metrics"]}
        assert {name: one["target"]["averageValue"] for name, one in metrics.items()} == {
            "affine": "10857", "classify": "108574",
        }  # fmt: skip
        (rule,) = yaml.safe_load((folder / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
        assert rule["name"]["as"] == metrics["affine"]["metric"]["name"] == METRIC
        assert rule["metricsQuery"].count("<<.LabelMatchers>>") == rule["metricsQuery"].count("<<.GroupBy>>") == 2

    @pytest.mark.parametrize(("stable", "percent", "replicas"), [(9, 10, 1), (2, 10, 1), (50, 20, 12), (3, 50, 3)])
    def test_a_canary_gets_its_share_of_the_pods(self, stable: int, percent: int, replicas: int) -> None:
        assert canary_replicas(stable, percent) == replicas


@kubectl
@pytest.mark.slow
def test_another_version_is_another_line_and_rolls_the_pods(artifacts: Path, tmp_path: Path) -> None:
    folder = deployed("kubernetes", tmp_path / "out")
    before = of_kind(kustomized(folder / "overlays" / "gpu"), "Deployment")
    file = folder / "base" / "kustomization.yaml"
    lines = file.read_text().splitlines()
    assert [line.strip() for line in lines if "classify" in line] == ["- classify=2"]
    file.write_text(file.read_text().replace("classify=2", "classify=1"))
    after = of_kind(kustomized(folder / "overlays" / "gpu"), "Deployment")
    names = [
        containers(one)["pull-1-classify"]["env"][0]["valueFrom"]["configMapKeyRef"]["name"] for one in (before, after)
    ]
    assert names[0] != names[1], "the pods' template is another, so that they are replaced one by one"
    assert re.fullmatch(r"conch-versions-\w+", names[0])


@kubectl
@pytest.mark.slow
def test_a_canary_is_beside_the_others_behind_the_same_services(artifacts: Path, tmp_path: Path) -> None:
    folder = deployed("kubernetes", tmp_path / "out", canary={"models": {"classify": 1}, "percent": 33})
    objects = kustomized(folder / "overlays" / "gpu")
    stable, canary = (of_kind(objects, "Deployment", name) for name in ("conch", "conch-canary"))
    assert "replicas" not in stable["spec"], "the autoscaler's"
    assert canary["spec"]["replicas"] == 1
    versions = [one for one in objects if one["kind"] == "ConfigMap" and "versions" in one["metadata"]["name"]]
    assert sorted(one["data"]["classify"] for one in versions) == ["1", "2"]
    (selector,) = {json.dumps(one["spec"]["selector"]) for one in objects if one["kind"] == "Service"}
    for one in (stable, canary):
        assert json.loads(selector).items() <= one["spec"]["template"]["metadata"]["labels"].items()
    assert stable["spec"]["selector"] != canary["spec"]["selector"]


class TestNetwork:
    @pytest.fixture
    def documents(self, artifacts: Path, tmp_path: Path) -> dict[str, Any]:
        folder = deployed("kubernetes", tmp_path / "out", clients=["apps"]) / "base"
        services = yaml.safe_load_all((folder / "services.yaml").read_text())
        return {one["metadata"]["name"]: one["spec"] for one in services} | {
            "policy": yaml.safe_load((folder / "network-policy.yaml").read_text())["spec"]
        }

    def test_grpc_has_no_address_of_its_own_and_pods_are_reached_at_the_same_port(
        self, documents: dict[str, Any]
    ) -> None:
        assert documents["conch-grpc"]["clusterIP"] == "None"
        (port,) = documents["conch-grpc"]["ports"]
        assert (port["port"], port["targetPort"]) == (8001, "grpc"), "a headless service translates no port"
        assert "clusterIP" not in documents["conch"]

    def test_only_callers_and_prometheus_get_in(self, documents: dict[str, Any]) -> None:
        callers, watchers = documents["policy"]["ingress"]
        assert [port["port"] for port in callers["ports"]] == [8000, 8001]
        assert callers["from"][1] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}
        assert [port["port"] for port in watchers["ports"]] == [8002, 8003]
        assert len(watchers["from"]) == 1

    def test_from_outside_http_comes_through_the_controller_alone(self, artifacts: Path, tmp_path: Path) -> None:
        edge = {"host": "models.example", "namespace": "edge", "certificate": "outside"}
        folder = deployed("kubernetes", tmp_path / "out", ingress=edge) / "base"
        spec = yaml.safe_load((folder / "ingress.yaml").read_text())["spec"]
        service = spec["rules"][0]["http"]["paths"][0]["backend"]["service"]
        there = next(yaml.safe_load_all((folder / "services.yaml").read_text()))
        assert service["name"] == there["metadata"]["name"]
        assert service["port"]["name"] in [port["name"] for port in there["spec"]["ports"]]
        assert spec["tls"] == [{"hosts": ["models.example"], "secretName": "outside"}]
        callers, _ = yaml.safe_load((folder / "network-policy.yaml").read_text())["spec"]["ingress"]
        assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}} in callers["from"]
        assert "ingress.yaml" in (folder / "kustomization.yaml").read_text()


class TestMonitoring:
    def test_both_pages_are_read_under_the_names_that_the_rules_know(self, artifacts: Path, tmp_path: Path) -> None:
        folder = deployed("kubernetes", tmp_path / "out", tls="certificate", tokens="tokens") / "base"
        triton, conch = yaml.safe_load((folder / "service-monitor.yaml").read_text())["spec"]["endpoints"]
        assert triton["relabelings"] == [{"targetLabel": "job", "replacement": "triton"}]
        assert conch["relabelings"] == [{"targetLabel": "job", "replacement": "conch"}]
        assert triton["authorization"] == {"credentials": {"name": "tokens", "key": "prometheus"}}
        assert "authorization" not in conch
        rule = yaml.safe_load((folder / "alerts.yaml").read_text())
        assert rule["spec"] == yaml.safe_load(RULES.read_text())

    def test_without_an_operator_there_is_nothing_of_its(self, artifacts: Path, tmp_path: Path) -> None:
        folder = deployed("kubernetes", tmp_path / "out") / "base"
        assert (folder / "alerts.yaml").exists()
        deployed("kubernetes", tmp_path / "out", monitoring={"operator": False})
        assert not (folder / "alerts.yaml").exists(), "what is not written any more is removed"
        assert "alerts.yaml" not in (folder / "kustomization.yaml").read_text()


def test_an_ensemble_is_deployed_whole_and_asks_for_the_library(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_text(own / "models")
    assert main(["kubernetes", "--out", str(write_choices(tmp_path / "part", models={"worth": 1}))]) == 1
    assert (
        "version 1 of 'worth' is an ensemble with 'worth_tokenizer': add worth_tokenizer: 1" in capsys.readouterr().err
    )
    whole = {"worth": 1, "worth_tokenizer": 1, "worth_model": 1}
    folder = deployed("kubernetes", tmp_path / "whole", models=whole)
    assert "worth_tokenizer needs the Python package tokenizers" in capsys.readouterr().out
    assert "--disable-auto-complete-config" in (folder / "base" / "deployment.yaml").read_text()
