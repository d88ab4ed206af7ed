"""`conch deploy`: what is chosen is checked, what is written is what Kubernetes takes, and what drifted is told."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from conch.contracts.promises import Promise
from serving.commands.deploy import main
from serving.deploy.choices import Choices, explanation, read_choices, schema
from serving.deploy.facts import Served
from serving.deploy.kubernetes import canary_replicas
from serving.deploy.scaling import METRIC, QUERY
from serving.errors import ServingError
from serving.repository.configuration import parse, render
from serving.server.server import STOP_SECONDS
from tests.support import graphs
from tests.support.deployed import RULES
from tests.support.deployment import (
    CONCH,
    DIGEST,
    TRITON,
    check_core,
    check_monitoring,
    containers,
    deployed,
    kubectl,
    kustomized,
    of_kind,
    put,
    workplace,
    write_choices,
)

PAGE = Path(__file__).parents[3] / "docs" / "deploy.md"
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt-get install prometheus")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workplace(tmp_path_factory.mktemp("deploy"))


@pytest.fixture
def artifacts(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The artifacts folder of all tests here, which none changes."""
    monkeypatch.setenv("CONCH_ARTIFACTS", str(shared))
    return shared


@pytest.fixture
def own(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(shared, tmp_path / "artifacts")
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


OTHER = {"images": {"triton": TRITON.replace("26.09", "26.07"), "conch": CONCH}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"nmae": "x"}, "nmae: Extra inputs are not permitted, got 'x'"),
    ({"name": "Conch"}, "name: String should match pattern"),
    ({"models": {}}, "models: Dictionary should have at least 1 item"),
    ({"models": {"affine": 0}}, r"models.affine: Input should be greater than or equal to 1, got '?0"),
    ({"models": {"affine": 7}}, r"has no version 7 of 'affine'; it has: 1"),
    ({"models": {"other": 1}}, r"has no 'other'; it has: affine, classify"),
    ({"release": "20.01"}, "release: 20.01: unknown release; known are 24.04"),
    ({"release": None}, "release: Field required"),
    (OTHER, "images.triton is of release 26.07, and release says 26.09"),
    ({"images": {"triton": "tritonserver:26.09-py3", "conch": CONCH}}, "images.triton: an image is pinned by digest"),
    ({"images": {"triton": f"t@{DIGEST[:-1]}", "conch": CONCH}}, "images.triton: an image is pinned by digest"),
    ({"images": {"triton": TRITON}}, "images.conch: Field required"),
    ({"store": None}, "store, claim and models_in_image: there is none of them"),
    ({"claim": "models"}, "store, claim and models_in_image: there is store, claim"),
    ({"store": "http://x"}, "store: String should match pattern"),
    ({"store": None, "claim": "a", "store_secret": "b"}, "store_secret is for a store"),
    ({"store": None, "models_in_image": True, "public_key": "k"}, "public_key is for what is pulled"),
    ({"public_key": "missing.pub"}, "missing.pub: cannot be read"),
    ({"tokens": "tokens"}, "tokens would cross the network as plain text: tls is needed"),
    ({"gpus": 0}, "gpus: Input should be greater than or equal to 1, got '0'"),
    ({"mig": "1g"}, "mig: String should match pattern"),
    ({"memory": "2G"}, "memory: String should match pattern"),
    ({"memory": None}, "memory: no load test has measured it: run `conch load run affine`, or write memory: 4Gi"),
    ({"replicas": {"least": 3, "most": 2}}, "replicas: least is 3, which is above most, 2"),
    ({"probe_seconds": 0}, "probe_seconds: Input should be greater than or equal to 1"),
    ({"clients": ["Bad_Name"]}, "clients.0: String should match pattern"),
    ({"load": {"model": "affine", "results": "r"}}, "load needs images.load"),
    ({"load": {"model": "other", "results": "r"}}, "load.model 'other' is none of models"),
    ({"tls": "t", "load": {"model": "affine", "results": "r"}}, "load speaks neither TLS nor tokens"),
    (
        {"images": {"triton": TRITON, "conch": CONCH, "load": CONCH}, "load": {"model": "classify", "results": "r"}},
        "classify promises nothing: `conch load init classify`",
    ),
    ({"training": {"recipe": "resnet", "artifacts": "a"}}, "training needs images.training"),
    ({"kserve": {"storage_uri": "http://x"}}, "kserve.storage_uri: String should match pattern"),
    ({"promises": "missing.yaml"}, "cannot read .*missing.yaml"),
    ({"canary": {"models": {"classify": 2}, "percent": 10}}, "canary.models: classify is version 2 already"),
    ({"canary": {"models": {"other": 2}, "percent": 10}}, "canary.models: other is none of models"),
    (
        {"canary": {"models": {"classify": 1}, "percent": 60}},
        "canary.percent: Input should be less than or equal to 50",
    ),
    ({"canary": {"models": {"classify": 9}, "percent": 10}}, "has no version 9 of 'classify'"),
    (
        {"store": None, "models_in_image": True, "canary": {"models": {"classify": 1}, "percent": 10}},
        "canary needs models that are pulled",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_a_choice_that_cannot_be_followed_is_named_and_nothing_is_written(
    changes: dict[str, Any], reason: str, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write_choices(tmp_path / "out", **changes)
    assert main(["kubernetes", "--out", str(out)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(reason, line), line
    assert [file.name for file in out.iterdir()] == ["deploy.yaml"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "is no YAML"),
        ("- a", "expected fields"),
        (None, "is not there: `conch deploy init --out"),
        ("models: {a: 1}\nreleese: 1\n", r"and \d more\)"),
    ],
)
def test_a_file_that_has_no_choices(text: str | None, reason: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "deploy.yaml").write_text(text)
    with pytest.raises(ServingError, match=reason):
        read_choices(tmp_path / "deploy.yaml")


def test_a_version_that_the_release_does_not_load_is_refused(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own / "models" / "affine" / "1" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"opset": 99}))
    assert main(["kubernetes", "--out", str(write_choices(tmp_path / "out"))]) == 1
    assert "has opset 99, Triton 26.09 loads up to 26" in capsys.readouterr().err


def test_all_fields_are_explained_and_in_the_schema(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kubernetes", "--explain"]) == 0
    assert capsys.readouterr().out == explanation() + "\n"
    assert all(f"\n{name}" in f"\n{explanation()}" for name in Choices.model_fields)
    assert main(["kubernetes", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())
    chosen = yaml.safe_load((write_choices(tmp_path / "out") / "deploy.yaml").read_text())
    jsonschema.validate(chosen, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**chosen, "nmae": "x"}, schema())


def test_init_names_the_live_models_and_leaves_a_file_alone(artifacts: Path, tmp_path: Path) -> None:
    assert main(["init", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "deploy.yaml").read_text()
    assert yaml.safe_load(text)["models"] == {"affine": 1, "classify": 2}
    assert main(["init", "--out", str(tmp_path)]) == 1
    (tmp_path / "deploy.yaml").write_text(text.replace("BUCKET", "b").replace("DIGEST", DIGEST[7:]) + "memory: 1Gi\n")
    assert main(["kubernetes", "--out", str(tmp_path)]) == 1, "REGISTRY and TAG are still to be filled in"
    (tmp_path / "deploy.yaml").write_text(
        (tmp_path / "deploy.yaml").read_text().replace("REGISTRY/conch:TAG", "registry.example/conch:1")
    )
    assert main(["kubernetes", "--out", str(tmp_path)]) == 0


FULL: dict[str, Any] = {
    "namespace": "models", "tls": "certificate", "tokens": "tokens", "clients": ["apps"], "store_secret": "aws",
    "service_account": "reader", "canary": {"models": {"classify": 1}, "percent": 20}, "surge": 0,
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


def test_the_file_on_the_page_is_one(artifacts: Path, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(models:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    text = text.replace("sha256:...", DIGEST).replace("cnn: 3", "affine: 1") + "memory: 1Gi\n"
    (tmp_path / "deploy.yaml").write_text(text)
    assert main(["kubernetes", "--out", str(tmp_path)]) == 0


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


WITH_JOBS: dict[str, Any] = {
    "images": {"triton": TRITON, "conch": CONCH, "load": CONCH, "training": CONCH},
    "load": {"model": "affine", "workers": 3, "seconds": 30, "results": "reports"},
    "training": {"recipe": "resnet", "nodes": 2, "gpus": 4, "artifacts": "shared"},
}


@kubectl
@pytest.mark.parametrize("place", [{"store": "s3://b/m"}, {"claim": "models"}, {"models_in_image": True}], ids=str)
def test_a_load_test_is_a_job_that_ends_as_its_promise_does(
    place: dict[str, Any], artifacts: Path, tmp_path: Path
) -> None:
    objects = kustomized(deployed("kubernetes", tmp_path / "out", **{**WITH_JOBS, "store": None, **place}) / "load")
    for one in objects:
        check_core(one)
    master, worker = of_kind(objects, "Job", "conch-load-master"), of_kind(objects, "Job", "conch-load-worker")
    assert master["spec"]["backoffLimit"] == 0
    assert master["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    words = containers(master)["master"]["args"]
    for flag, value in (("--expect-workers", "3"), ("--rate", "10"), ("--http", "http://conch:8000"), ("-t", "30s")):
        assert words[words.index(flag) + 1] == value
    assert int(words[words.index("-u") + 1]) <= 3 * 64, "what the guard allows three addresses at once"
    assert worker["spec"]["parallelism"] == worker["spec"]["completions"] == 3
    joined = containers(worker)["worker"]["args"]
    assert joined[joined.index("--master-host") + 1] == of_kind(objects, "Service")["metadata"]["name"]
    mounted = {one["name"]: one["mountPath"] for one in containers(master)["master"]["volumeMounts"]}
    assert words[words.index("--results") + 1].startswith(mounted["results"])


@kubectl
def test_a_training_is_an_indexed_job_whose_nodes_find_the_first(artifacts: Path, tmp_path: Path) -> None:
    objects = kustomized(deployed("kubernetes", tmp_path / "out", **WITH_JOBS) / "training")
    for one in objects:
        check_core(one)
    job, service = of_kind(objects, "Job"), of_kind(objects, "Service")
    words = containers(job)["training"]["args"]
    assert words[words.index("--master-addr") + 1] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 2)
    assert words[-1] == "--resume"
    assert containers(job)["training"]["resources"]["limits"]["nvidia.com/gpu"] == 4


KSERVE = {"storage_uri": "pvc://models/plain", "canary_percent": 10}


def kserve_objects(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = deployed("kserve", out, kserve=KSERVE, service_account="reader")
    runtime, service = (yaml.safe_load((folder / name).read_text()) for name in ("runtime.yaml", "service.yaml"))
    return runtime, service


def test_kserve_runs_triton_as_the_launcher_does(artifacts: Path, tmp_path: Path) -> None:
    runtime, service = kserve_objects(tmp_path / "out")
    (container,) = runtime["spec"]["containers"]
    pod = {key: runtime["spec"][key] for key in ("containers", "volumes")}
    check_core({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": pod})
    assert "--model-repository=/mnt/models" in container["args"]
    assert "--disable-auto-complete-config" in container["args"]
    predictor = service["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == 10
    assert predictor["model"]["storageUri"] == "pvc://models/plain"
    assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
    named = {one["name"] for one in runtime["spec"]["supportedModelFormats"]}
    assert predictor["model"]["modelFormat"]["name"] in named
    assert main(["kserve", "--out", str(write_choices(tmp_path / "without"))]) == 1, "kserve.storage_uri is needed"


@pytest.mark.long
def test_kserve_knows_each_field(artifacts: Path, tmp_path: Path) -> None:
    """By its own Python models, whose package pins too much for this environment: its generated tables are read."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "kserve")]
    subprocess.run([*install, "kserve==0.21.0"], check=True, timeout=200)
    models = tmp_path / "kserve" / "kserve" / "models"

    def known(kind: str) -> dict[str, str]:
        """Field -> its type, as the generated class of this name says."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        text = (models / f"{name}.py").read_text()
        types, names = (
            ast.literal_eval(re.findall(rf"^    {table} = (\{{.*?\}})$", text, re.DOTALL | re.MULTILINE)[0])
            for table in ("openapi_types", "attribute_map")
        )
        return {names[field]: of for field, of in types.items()}

    def check(value: dict[str, Any], kind: str) -> None:
        fields = known(kind)
        assert set(value) <= set(fields), f"{kind} has no {set(value) - set(fields)}"
        for key, inner in value.items():
            of = fields[key].removeprefix("list[").removesuffix("]")
            for one in inner if isinstance(inner, list) else [inner]:
                if of.startswith(("V1alpha1", "V1beta1")):
                    check(one, of)

    runtime, service = kserve_objects(tmp_path / "out")
    check(runtime, "V1alpha1ServingRuntime")
    check(service, "V1beta1InferenceService")
    with pytest.raises(AssertionError, match="storageUrl"):
        check({"storageUrl": "x"}, "V1beta1ModelSpec")


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


class TestDrift:
    def checked(self, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = main(["check", str(out)])
        return code, capsys.readouterr().out.splitlines()

    def test_what_changed_is_told_by_file_and_field(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        folder = deployed("kubernetes", out)
        (folder / "overlays" / "mine").mkdir()
        (folder / "overlays" / "mine" / "kustomization.yaml").write_text("resources: [../gpu]\n")
        assert self.checked(out, capsys) == (0, ["no differences"])
        write_choices(out, replicas={"least": 3})
        assert self.checked(out, capsys) == (
            1, ["kubernetes/base/autoscaler.yaml: spec.minReplicas is 2, would be 3", "1 differences"],
        )  # fmt: skip
        write_choices(out)
        (own / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 200}\n")
        code, lines = self.checked(out, capsys)
        assert (code, len(lines)) == (1, 3)
        assert "kubernetes/base/promises.yaml: affine.p99_ms is 100.0, would be 200.0" in lines
        assert "averageValue is '10857', would be '21715'" in lines[1] + lines[0]
        (own / "promises.yaml").write_text("affine: {rate: 10, error_rate: 0.01, p99_ms: 100}\n")
        put(own / "models", "affine", graphs.AFFINE, told="again")
        assert self.checked(out, capsys)[0] == 0, "a version that nobody has chosen changes nothing"
        (folder / "base" / "services.yaml").unlink()
        file = folder / "base" / "deployment.yaml"
        file.write_text(file.read_text().replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", 1))
        code, lines = self.checked(out, capsys)
        assert "kubernetes/base/services.yaml: is not there" in lines
        assert any(
            "initContainers[pull-0-affine].securityContext.readOnlyRootFilesystem is False" in one for one in lines
        )

    def test_a_folder_without_manifests_is_refused(
        self, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["check", str(write_choices(tmp_path / "out"))]) == 1
        assert "has none of kubernetes, kserve" in capsys.readouterr().err
