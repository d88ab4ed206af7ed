"""`conch deploy images`: Dockerfiles without faults, and all that they are built from, pinned and labelled."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.commands.deploy import main
from serving.deploy.images import EXTRAS
from tests.support.deployed import FOLDER
from tests.support.deployment import DIGEST, TRITON, deployed, write_choices

DOCKERFILES = {name: Path(str(FOLDER)) / f"{name}.Dockerfile" for name in ("kit", "models")}
WHEEL = "conch-0.1.0-py3-none-any.whl"
PYTHON = f"python:3.12-slim-bookworm@{DIGEST}"
BUILD = {
    "python": PYTHON, "triton": TRITON, "debian": "20261101T000000Z", "mirror": "https://snapshots.example/archive",
    "wheel": WHEEL, "constraints": "constraints.txt",
    "registry": "registry.example/team",
}  # fmt: skip


def linted(file: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=Path(sys.executable).parent) or "hadolint"
    return subprocess.run([program, "--no-color", str(file)], capture_output=True, text=True, check=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with what stands in for the kit's wheel."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / WHEEL).write_bytes(b"wheel")
    (tmp_path / "out" / "constraints.txt").write_text("numpy==2.0\n")
    return tmp_path / "out"


@pytest.mark.parametrize("file", DOCKERFILES.values(), ids=DOCKERFILES)
def test_hadolint_finds_nothing(file: Path, tmp_path: Path) -> None:
    assert linted(file).stdout == ""
    worse = tmp_path / "Dockerfile"
    worse.write_text(file.read_text() + "RUN cd /tmp && curl x | sh\n")
    assert "DL3003" in linted(worse).stdout


def test_bases_are_pinned_by_digest_and_nobody_is_root() -> None:
    for file in DOCKERFILES.values():
        stages = re.split(r"^FROM ", file.read_text(), flags=re.MULTILINE)[1:]
        names = [stage.split()[2] for stage in stages if " AS " in stage.splitlines()[0]]
        assert all(stage.split()[0] in ("${PYTHON_IMAGE}", "${TRITON_IMAGE}", *names) for stage in stages)
        assert re.findall(r"^USER (.*)$", file.read_text(), re.MULTILINE)[-1] == "1000:1000"


def test_the_file_for_bake_gives_all_that_the_dockerfiles_ask_for(artifacts: Path, out: Path) -> None:
    folder = deployed("images", out, build=BUILD)
    bake = json.loads((folder / "docker-bake.json").read_text())
    targets = bake["target"]
    assert bake["group"]["default"]["targets"] == [*EXTRAS, "models"]
    for target in targets.values():
        text = (folder / target["dockerfile"]).read_text()
        asked = set(re.findall(r"^ARG (\w+)$", text, re.MULTILINE))
        assert asked <= set(target["args"]), "no argument without a value"
        assert "target" not in target or f"AS {target['target']}\n" in text
        assert target["output"] == ["type=registry,rewrite-timestamp=true"]
    assert targets["conch"]["args"]["PYTHON_IMAGE"] == PYTHON
    assert targets["conch"]["args"]["SOURCE_DATE_EPOCH"] == "1793491200", "2026-11-01, as its packages"
    labels = targets["models"]["labels"]
    assert labels["org.opencontainers.image.base.digest"] == DIGEST
    chain = json.loads(labels["conch.model.classify"])
    assert chain["version"] == 2
    manifest = json.loads((artifacts / "models" / "classify" / "2" / "manifest.json").read_text())
    assert chain["sha256"] == manifest["sha256"]
    assert targets["load"]["labels"]["conch.wheel"] == f"sha256:{hashlib.sha256(b'wheel').hexdigest()}"
    assert targets["models"]["tags"] == ["registry.example/team/models:26.09-py3-affine.1-classify.2"]


def test_the_versions_that_are_chosen_are_there_and_no_others(artifacts: Path, out: Path) -> None:
    folder = deployed("images", out, build=BUILD)
    sums = dict(line.split("  /models/")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    there = {
        file.relative_to(folder / "repository").as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder / "repository").rglob("*")
        if file.is_file()
    }
    assert sums == there
    assert {"affine/1/model.onnx", "classify/2/model.onnx", "classify/config.pbtxt"} < set(there)
    assert not any(path.startswith("classify/1/") for path in there)
    assert sorted(file.name for file in (folder / "kit").iterdir()) == [WHEEL, "constraints.txt"]


REFUSED: list[tuple[dict[str, Any] | None, str]] = [
    (None, "build is needed"),
    ({"python": "python:3.12-slim@sha256:DIGEST"}, "build.python: an image is pinned by digest"),
    ({"triton": "nvcr.io/nvidia/tritonserver:26.09-py3"}, "build.triton: an image is pinned by digest"),
    ({"debian": "yesterday"}, "build.debian: String should match pattern"),
    ({"mirror": "snapshots.example"}, "build.mirror: String should match pattern"),
    ({"wheel": "dist/conch.whl"}, "conch.whl is not there; `python -m build --wheel`"),
    ({"wheel": "constraints.txt"}, "constraints.txt is no wheel of the kit"),
    ({"registry": "https://x"}, "build.registry: String should match pattern"),
    ({"digest": "x"}, "build.digest: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[reason[:30] for _, reason in REFUSED])
def test_what_is_not_pinned_or_not_there_is_refused(
    changes: dict[str, Any] | None, reason: str, artifacts: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_choices(out, build=None if changes is None else {**BUILD, **changes})
    assert main(["images", "--out", str(out)]) == 1
    assert reason in capsys.readouterr().err
    assert not (out / "images").exists()


def test_a_version_that_is_not_what_was_proven_is_refused(
    own: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own / "models" / "affine" / "1" / "model.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    assert main(["images", "--out", str(write_choices(out, build=BUILD))]) == 1
    assert "1/model.onnx is not what was published" in capsys.readouterr().err


def test_images_are_built_before_they_can_be_pinned_and_drift_is_told(
    artifacts: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbuilt = {"triton": "registry.example/models:TAG@sha256:DIGEST", "conch": "registry.example/conch@sha256:DIGEST"}
    deployed("images", out, build=BUILD, images=unbuilt)
    assert main(["check", str(out)]) == 0
    write_choices(out, build=BUILD, models={"affine": 1, "classify": 1})
    capsys.readouterr()
    assert main(["check", str(out)]) == 1
    said = capsys.readouterr().out
    assert "images/SHA256SUMS: has another text" in said
    assert "images/docker-bake.json: " in said
