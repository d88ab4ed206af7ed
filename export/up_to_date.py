"""Whether a published version would come out the same if it were made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime

from export.convert import Exporter
from serving.publish import latest_version
from serving.releases import OLDEST, Release, find_release
from training.checkpoint import Checkpoint
from training.fingerprint import package_versions, sha256_of_file, sha256_of_files, sha256_of_json
from training.fit import fingerprint as training_fingerprint

PACKAGES = ("torch", "onnx", "onnxscript", "numpy")


def export_fingerprint(
    checkpoint: Checkpoint,
    exporter: Exporter | None,
    precision: str = "fp32",
    target: str = "",
    release: Release | None = None,
) -> str:
    """Hash of all that decides a published version: weights, code, versions, and the choices made by flag."""
    here = Path(__file__).parent
    code = [*here.rglob("*.py"), *(here.parent / "serving").glob("*.py")]
    return sha256_of_json(
        {
            "code": sha256_of_files(code),
            "checkpoint": checkpoint.manifest["fingerprint"],
            # The code at hand and the checkpoints it reads, which need not be those that the weights were made with.
            "recipe": training_fingerprint(checkpoint.recipe, checkpoint.data),
            "weights": checkpoint.manifest["sha256"]["weights"],
            "exporter": exporter,
            "precision": precision,
            "target": target,
            "triton": (release or find_release(OLDEST)).name,
            "packages": package_versions(*PACKAGES) | {"onnxruntime": onnxruntime.__version__},
        }
    )


def is_up_to_date(
    checkpoint: Checkpoint, repository: Path, exporter: Exporter | None, release: Release | None = None
) -> bool:
    """Whether the newest version of every model the recipe serves has this fingerprint and is unharmed."""
    wanted = export_fingerprint(checkpoint, exporter, release=release)
    served = checkpoint.recipe.served(checkpoint.trained, checkpoint.data)
    return all(newest_is(repository, one.name, wanted) for one in served)


def newest_is(repository: Path, name: str, fingerprint: str) -> bool:
    """Whether the newest version of model `name` has this fingerprint and is unharmed."""
    version = latest_version(repository, name)
    return version is not None and _unharmed(version, fingerprint)


def _unharmed(version: Path, wanted: str) -> bool:
    try:
        manifest: dict[str, Any] = json.loads((version / "manifest.json").read_text())
        hashes = manifest["sha256"]
        return (
            manifest["fingerprint"] == wanted
            and sha256_of_file(version / "model.onnx") == hashes["onnx"]
            and sha256_of_file(version / "golden.npz") == hashes["golden"]
            and sha256_of_file(version.parent / "config.pbtxt") == hashes["config"]
        )
    except (OSError, ValueError, KeyError):
        return False
