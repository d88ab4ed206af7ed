"""deploy.yaml: what is chosen is checked, explained, and refused where it cannot be followed."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving.commands.deploy import main
from serving.deploy.choices import Choices, explanation, read_choices, schema
from serving.errors import ServingError
from tests.support.deployment import (
    CONCH,
    DIGEST,
    TRITON,
    write_choices,
)

PAGE = Path(__file__).parents[4] / "docs" / "deploy.md"


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
    ({"tls": "t", "load": {"model": "affine", "results": "r"}}, "load has no authority and no token"),
    (
        {"images": {"triton": TRITON, "conch": CONCH, "load": CONCH}, "load": {"model": "classify", "results": "r"}},
        "classify promises nothing: `conch load init classify`",
    ),
    ({"training": {"recipe": "resnet", "artifacts": "a"}}, "training needs images.training"),
    ({"kserve": {"storage_uri": "http://x"}}, "kserve.storage_uri: String should match pattern"),
    ({"ingress": {"host": "models.example"}}, "ingress.namespace: Field required"),
    ({"ingress": {"host": "https://x", "namespace": "n"}}, "ingress.host: String should match pattern"),
    (
        {"tls": "t", "tokens": "t", "ingress": {"host": "models.example", "namespace": "n"}},
        "tokens would reach the ingress as plain text",
    ),
    ({"compose": {"host": "0.0.0.0"}}, "compose.host 0.0.0.0 is a network's: tls and tokens are needed for it"),
    ({"compose": {"http": 70000}}, "compose.http: Input should be less than or equal to 65535"),
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


def test_the_file_on_the_page_is_one(artifacts: Path, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(models:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    text = text.replace("sha256:...", DIGEST).replace("cnn: 3", "affine: 1") + "memory: 1Gi\n"
    (tmp_path / "deploy.yaml").write_text(text)
    assert main(["kubernetes", "--out", str(tmp_path)]) == 0
