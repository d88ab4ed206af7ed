"""A load test and a training as Jobs."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import (
    CONCH,
    TRITON,
    check_core,
    containers,
    deployed,
    kubectl,
    kustomized,
    of_kind,
)

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
    for flag in ("--model", "--http", "--promises", "--artifacts"):
        assert joined[joined.index(flag) + 1] == words[words.index(flag) + 1], "a worker reads them before it is told"
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
