"""The images that `conch deploy images` describes, built step by step without Docker, and what they are then run for.

buildah runs the Dockerfiles' own steps in a chroot. No image is fetched: Debian with Python, made by debootstrap,
stands in for the one that is named, and for NVIDIA's. What the extra `[cpu]` installs is that of `make setup`, and left
out.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import DIGEST, TRITON, deployed, workplace

ROOT = Path(__file__).parents[2]
MISSING = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {MISSING}; apt-get install buildah debootstrap"),
]
BASE = "localhost/base"
AUTHORITIES = "/etc/ssl/certs"
"""This machine's own, which it may need to reach an index."""


class Builder:
    """buildah, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self._begin = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self._begin, *words], capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout.strip()

    def build(self, target: dict[str, Any], context: Path, tag: str, **arguments: str) -> dict[str, Any]:
        """The configuration of the image that a target of the file for bake is."""
        words = ["build", "--isolation", "chroot", "--timestamp", "0", "--no-cache", "--tag", tag]
        words += ["--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro", "--file", str(context / target["dockerfile"])]
        words += ["--target", target["target"]] if "target" in target else []
        for name, value in {**target["args"], **arguments}.items():
            words += ["--build-arg", f"{name}={value}"]
        for name, value in target["labels"].items():
            words += ["--label", f"{name}={value}"]
        self(*words, str(context))
        found: dict[str, Any] = json.loads(self("inspect", "--type", "image", tag))["OCIv1"]
        return found

    def run(self, image: str, *words: str) -> str:
        """What a command in the image prints, as the user that the image names."""
        container = self("from", image)
        try:
            return self("run", "--isolation", "chroot", container, "--", *words)
        finally:
            self("rm", container)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    folder = tmp_path_factory.mktemp("images")
    packages = "python3,python3-venv,python3-pip,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder / "debian")],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    build = Builder(folder)
    container = build("from", "scratch")
    build("copy", container, str(folder / "debian"), "/")
    build("commit", container, BASE)
    yield build
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command has written, of a wheel of this kit."""
    folder = tmp_path_factory.mktemp("context")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = (folder / "dist").glob("*.whl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCH_ARTIFACTS", str(workplace(folder)))
        chosen = {
            "python": f"debian@{DIGEST}", "triton": TRITON, "debian": "20261101T000000Z", "mirror": "https://snapshots.example/archive",
            "wheel": str(wheel),
            "constraints": str(ROOT / "constraints.txt"), "registry": "registry.example/team",
        }  # fmt: skip
        return deployed("images", folder / "out", build=chosen)


def targets(context: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context / "docker-bake.json").read_text())["target"]
    return found


def test_the_clients_are_built_twice_alike(builder: Builder, context: Path) -> None:
    target = targets(context)["clients"]
    first, second = (builder.build(target, context, f"clients:{one}", PYTHON_IMAGE=BASE) for one in "ab")
    assert first["rootfs"] == second["rootfs"], "each layer has the same hash"
    assert first["config"]["User"] == "1000:1000"
    assert first["config"]["Labels"]["conch.wheel"] == target["labels"]["conch.wheel"]
    assert "classify" in builder.run("clients:a", "conch", "call", "--help")
    written = builder.run(
        "clients:a", "sh", "-c", "id -u; touch /pulled/a /results/b && ! touch /opt/conch/c && echo kept"
    )
    assert written.splitlines()[0] == "1000"
    assert written.splitlines()[-1] == "kept"


def test_the_load_test_is_locust_with_the_kits_users(builder: Builder, context: Path) -> None:
    builder.build(targets(context)["load"], context, "load", PYTHON_IMAGE=BASE)
    user = "import loadtest.plain_locust, loadtest.__main__; print(loadtest.plain_locust.TritonHttpUser.protocol)"
    assert builder.run("load", "python3", "-c", user).endswith("http")
    assert "locust 2" in builder.run("load", "locust", "--version")
    assert "ModuleNotFoundError" in builder.run("load", "sh", "-c", "python3 -c 'import torch' 2>&1 || true")


def test_the_guards_image_has_nginx(builder: Builder, context: Path) -> None:
    target = targets(context)["conch"]
    # Without the archive: Debian's packages as of today.
    config = builder.build(target, context, "conch", PYTHON_IMAGE=BASE, EXTRA="", DEBIAN_MIRROR="")["config"]
    assert config["User"] == "1000:1000"
    assert "nginx version" in builder.run("conch", "sh", "-c", "/usr/sbin/nginx -v 2>&1")


def test_the_models_are_those_that_were_proven(builder: Builder, context: Path, tmp_path: Path) -> None:
    target = targets(context)["models"]
    config = builder.build(target, context, "models", TRITON_IMAGE=BASE)["config"]
    assert json.loads(config["Labels"]["conch.model.affine"])["sha256"]["onnx"]
    listed = builder.run("models", "find", "/models", "-name", "model.onnx").splitlines()
    assert sorted(listed) == ["/models/affine/1/model.onnx", "/models/classify/2/model.onnx"]
    changed = shutil.copytree(context, tmp_path / "changed")
    (changed / "repository" / "affine" / "1" / "model.onnx").write_bytes(b"another")
    with pytest.raises(AssertionError, match=r"affine/1/model.onnx: FAILED"):
        builder.build(target, changed, "changed", TRITON_IMAGE=BASE)
