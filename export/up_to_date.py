"""Whether a published version would come out the same if it were made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.convert import Exporter
from serving.publish import latest_version
from training.checkpoint import Checkpoint
from training.fingerprint import package_versions, sha256_of_file, sha256_of_files, sha256_of_json

PACKAGES = ("torch", "onnx", "onnxscript", "numpy")


def export_fingerprint(checkpoint: Checkpoint, exporter: Exporter | None) -> str:
    """Hash of all that decides a published version: weights, code, versions and the choice of exporter."""
    here = Path(__file__).parent
    code = [*here.glob("*.py"), *(here.parent / "serving").glob("*.py")]
    return sha256_of_json(
        {
            "code": sha256_of_files(code),
            "checkpoint": checkpoint.manifest["fingerprint"],
            "weights": checkpoint.manifest["sha256"]["weights"],
            "exporter": exporter,
            "packages": package_versions(*PACKAGES),
        }
    )


def is_up_to_date(checkpoint: Checkpoint, repository: Path, exporter: Exporter | None) -> bool:
    """Whether the newest version of every model the recipe serves has this fingerprint and is unharmed."""
    wanted = export_fingerprint(checkpoint, exporter)
    for served in checkpoint.recipe.served(checkpoint.trained, checkpoint.data):
        version = latest_version(repository, served.name)
        if version is None or not _unharmed(version, wanted):
            return False
    return True


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
