"""`conch deploy kserve`."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.commands.deploy import main
from tests.support.deployment import (
    check_core,
    deployed,
    write_choices,
)

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
