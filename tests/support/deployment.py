"""A repository of a few models, a deploy.yaml over it, and manifests held against published schemas."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from serving.commands.deploy import main
from serving.repository.publish import publish
from tests.support import graphs

DIGEST = "sha256:" + "0123456789abcdef" * 4
TRITON = f"nvcr.io/nvidia/tritonserver:26.09-py3@{DIGEST}"
CONCH = f"registry.example/conch:0.1.0@{DIGEST}"
IMAGES = {
    "triton": TRITON, "conch": CONCH, "load": CONCH, "prometheus": f"prom/prometheus:v3@{DIGEST}",
    "grafana": f"grafana/grafana:12@{DIGEST}",
}  # fmt: skip
CHOICES: dict[str, Any] = {
    "models": {"affine": 1, "classify": 2},
    "store": "s3://bucket/models",
    "release": "26.09",
    "images": {"triton": TRITON, "conch": CONCH},
    "memory": "2Gi",
}
PROMISES = "affine: {rate: 10, error_rate: 0.01, p99_ms: 100}\n"
kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is missing")


def put(repository: Path, name: str, graph: str, **manifest: Any) -> Path:
    """The folder of the next version of a model."""
    repository.mkdir(parents=True, exist_ok=True)
    file = graphs.write(graph, repository.parent / f"{name}.onnx")
    proof = {"passed": True, "cells": []}
    return publish(
        file, name=name, repository=repository, max_batch_size=8, manifest=manifest, parity=proof,
        golden=graphs.golden(file),
    )  # fmt: skip


def workplace(folder: Path) -> Path:
    """An artifacts folder with `affine` 1, `classify` 1 and 2, and a promise."""
    models = folder / "artifacts" / "models"
    put(models, "affine", graphs.AFFINE)
    put(models, "classify", graphs.CLASSIFY)
    put(models, "classify", graphs.CLASSIFY, told="again")
    (folder / "artifacts" / "promises.yaml").write_text(PROMISES)
    return folder / "artifacts"


def write_choices(out: Path, **changes: Any) -> Path:
    """deploy.yaml in `out`: `CHOICES` with changes; a field that is None is left out."""
    out.mkdir(exist_ok=True)
    chosen = {key: value for key, value in {**CHOICES, **changes}.items() if value is not None}
    (out / "deploy.yaml").write_text(yaml.safe_dump(chosen))
    return out


def deployed(kind: str, out: Path, **changes: Any) -> Path:
    """The folder of one kind of manifests, written by the command."""
    write_choices(out, **changes)
    assert main([kind, "--out", str(out)]) == 0
    return out / kind


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would apply."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The one object of a kind, or of that and a name."""
    (found,) = [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found


def containers(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All containers of a Deployment or Job, in their order, by name."""
    spec = deployment["spec"]["template"]["spec"]
    return {one["name"]: one for one in [*spec.get("initContainers", []), *spec["containers"]]}


def check_core(document: dict[str, Any]) -> None:
    """Hold an object of Kubernetes' own against its schema, which knows no other fields than these."""
    kubernetes_validate.validate(document, "1.37", strict=True)


def check_compose(document: dict[str, Any]) -> None:
    """Hold a file for Compose against the schema of compose-spec, as check-jsonschema carries it."""
    jsonschema.validate(document, get_builtin_schema("vendor.compose-spec"))


def check_monitoring(document: dict[str, Any]) -> None:
    """Hold an object of the Prometheus Operator against its types, which drop what they do not know."""
    from cloudcoil.models.prometheus_operator import v1

    read = getattr(v1, document["kind"]).model_validate(document)
    again = json.loads(read.model_dump_json(by_alias=True, exclude_none=True))
    if dropped := list(lost(document, again)):
        raise AssertionError(f"the operator does not know {dropped}")


def lost(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """The paths in `one` whose values `other` does not have."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            yield from lost(one[key], other.get(key, KeyError), f"{place}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, item in enumerate(one):
            yield from lost(item, other[number], f"{place}/{number}")
    elif one != other:
        yield f"{place}: {one!r} and {other!r}"
