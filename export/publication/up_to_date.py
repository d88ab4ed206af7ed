"""Whether a published version would come out the same if it were made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from conch.contracts.fingerprint import package_versions, sha256_of_code, sha256_of_file, sha256_of_json
from conch.contracts.versions import latest_version
from export.conversion.convert import Exporter
from serving.onnx_files.releases import OLDEST, Release, find_release
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.up_to_date import fingerprint as training_fingerprint

DECIDES = (
    "conch/contracts/comparison.py",
    "conch/contracts/golden.py",
    "conch/contracts/states.py",
    "export/conversion/cleaning.py",
    "export/conversion/constants.py",
    "export/conversion/convert.py",
    "export/conversion/exporter_failure.py",
    "export/conversion/folding.py",
    "export/conversion/recurrence.py",
    "export/modules/bfloat16.py",
    "export/modules/call.py",
    "export/modules/example.py",
    "export/modules/example_axes.py",
    "export/modules/example_files.py",
    "export/modules/example_options.py",
    "export/modules/example_values.py",
    "export/modules/flat.py",
    "export/modules/module_export.py",
    "export/modules/module_served.py",
    "export/modules/module_source.py",
    "export/modules/module_spec.py",
    "export/modules/module_values.py",
    "export/modules/module_weights.py",
    "export/modules/returned.py",
    "export/modules/structure.py",
    "export/modules/taken.py",
    "export/modules/weighted.py",
    "export/modules/weights_files.py",
    "export/modules/weights_names.py",
    "export/precision/agreement.py",
    "export/precision/crash.py",
    "export/precision/dynamic.py",
    "export/precision/file_items.py",
    "export/precision/file_variant.py",
    "export/precision/files.py",
    "export/precision/gate.py",
    "export/precision/groups.py",
    "export/precision/half.py",
    "export/precision/items.py",
    "export/precision/judge.py",
    "export/precision/linear.py",
    "export/precision/module_variant.py",
    "export/precision/order.py",
    "export/precision/original.py",
    "export/precision/prepare.py",
    "export/precision/proof.py",
    "export/precision/quantizers.py",
    "export/precision/quiet.py",
    "export/precision/recipe_variant.py",
    "export/precision/recurrent.py",
    "export/precision/score_function.py",
    "export/precision/speed.py",
    "export/precision/static.py",
    "export/precision/table.py",
    "export/precision/target.py",
    "export/precision/variant.py",
    "export/precision/weights.py",
    "export/proof/ambiguity.py",
    "export/proof/budget.py",
    "export/proof/cells.py",
    "export/proof/chain.py",
    "export/proof/float64.py",
    "export/proof/pace.py",
    "export/proof/parity.py",
    "export/proof/plan.py",
    "export/proof/prove.py",
    "export/proof/reference.py",
    "export/proof/runtime.py",
    "export/proof/signature.py",
    "export/proof/subject.py",
    "export/proof/verdict.py",
    "export/references/against_module.py",
    "export/references/answering.py",
    "export/references/file_subject.py",
    "export/references/held.py",
    "export/references/indices.py",
    "export/references/matching.py",
    "export/references/onnx_file.py",
    "export/references/proving.py",
    "export/publication/pipeline.py",
    "export/publication/up_to_date.py",
    "serving/repository/configuration.py",
    "serving/repository/labels.py",
    "serving/repository/publication.py",
    "serving/repository/publish.py",
    "serving/repository/sequences.py",
    "serving/repository/tensorrt.py",
    "serving/repository/warm_up.py",
    "serving/onnx_files/inspection.py",
    "serving/onnx_files/external_data.py",
    "serving/onnx_files/releases.py",
)
"""What decides a published version, by path from the project's root; a test holds it against the tree."""
PACKAGES = ("torch", "onnx", "onnxscript", "numpy")


def export_fingerprint(
    checkpoint: Checkpoint,
    exporter: Exporter | None,
    variant: Mapping[str, Any] | None = None,
    release: Release | None = None,
) -> str:
    """Hash of all that decides a published version: weights, code, versions, and the choices made by flag.

    Args:
        variant: of a lower precision, all that was asked for (JSON).
    """
    return sha256_of_json(
        {
            "code": sha256_of_code(DECIDES),
            "checkpoint": checkpoint.manifest["fingerprint"],
            # The code at hand and the checkpoints it reads, which need not be those that the weights were made with.
            "recipe": training_fingerprint(checkpoint.recipe, checkpoint.data),
            "weights": checkpoint.manifest["sha256"]["weights"],
            "exporter": exporter,
            "variant": variant,
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
