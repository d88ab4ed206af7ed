"""A served module without a recipe to a published version: convert, prove on the parity grid, publish. No score."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.fingerprint import git_commit, package_versions
from conch.contracts.golden import golden_arrays
from export.conversion.convert import Exporter
from export.conversion.memory import let_go
from export.proof.budget import tolerances
from export.proof.pace import Pace
from export.proof.prove import Proof, convert_and_compare
from export.proof.runtime import onnx_predict
from export.publication.pipeline import GOLDEN_ITEMS, Exported, first_proven, repository_folder
from export.publication.up_to_date import PACKAGES
from serving.onnx_files.releases import Release
from serving.repository.folder import check_level
from serving.repository.publication import Publication, put
from serving.repository.publish import prepare
from training.predict import in_batches
from training.served import Served


def export_module(
    served: Served,
    source: dict[str, Any],
    hashes: dict[str, str],
    exporter: Exporter | None = None,
    pace: Pace | None = None,
    release: Release | None = None,
    replace_contract: bool = True,
) -> Exported:
    """Convert, prove and publish `served`.

    Args:
        served: the module with its inputs, outputs and examples.
        source: where it comes from and what it was proven on, for the manifest.
        hashes: SHA-256 of the files it was made from, for the manifest.
        exporter: one of `EXPORTERS`; without, the first whose file passes the proof.
        pace: told what is being done; where it has a limit of time, the grid is cut to it.
        release: the oldest Triton release that has to load the file.
        replace_contract: as `publish` says.

    Raises:
        ProofFailed: no exporter's file passed; nothing was published.
        ServingError: the repository cannot be written.
    """
    pace = pace or Pace()
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        path = Path(folder) / "model.onnx"
        proofs = prove_module(served, path, exporter, pace, release)
        pace.tell(f"{served.name}: publishing")
        version = publish_module(served, proofs, path, source, hashes, replace_contract=replace_contract)
    return Exported(served, proofs[-1], tuple(proofs[:-1]), version)


def prove_module(
    served: Served, path: Path, exporter: Exporter | None, pace: Pace, release: Release | None = None
) -> list[Proof]:
    """Convert `served` into `path` by the first exporter whose file passes; the proofs, the passed one last.

    Raises:
        ProofFailed: no exporter's file passed.
    """

    def prove(candidate: Exporter) -> Proof:
        pace.tell(f"{served.name}: {candidate} exporter, parity grid")
        return convert_and_compare(served, path, candidate, release, pace)

    return first_proven(served, exporter, prove)


def publish_module(
    served: Served,
    proofs: list[Proof],
    path: Path,
    source: dict[str, Any],
    hashes: dict[str, str],
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    parity: Any = None,
    parameters: Mapping[str, str] | None = None,
    replace_contract: bool = True,
) -> Path:
    """Publish `path`, or a variant of it, with the answers that it gives itself; the version's folder.

    Args:
        name: its folder in the repository; without, the served name.
        changes: what its manifest says otherwise than that of the proven fp32 file.
        parity: its own proof (JSON); without, the parity grid of the last of `proofs`.
        parameters: what its configuration says to clients.
        replace_contract: as `publish` says.
    """
    repository = repository_folder()
    check_level(repository)
    prepared = prepare_module(served, proofs, path, source, hashes, name, changes, parity, parameters)
    (version,) = put(repository, [prepared], replace_contract)
    return version


def prepare_module(
    served: Served,
    proofs: list[Proof],
    path: Path,
    source: dict[str, Any],
    hashes: dict[str, str],
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    parity: Any = None,
    parameters: Mapping[str, str] | None = None,
    part_of: str = "",
) -> Publication:
    """What `publish_module` publishes, where it is a step of the ensemble `part_of`, too."""
    grid = proofs[-1].grid
    assert grid is not None
    golden = _golden(served, path)
    let_go(served.module)
    return prepare(
        path,
        name=name or served.name,
        max_batch_size=served.largest_batch,
        manifest=module_manifest(served, proofs, path, source, hashes) | dict(changes or {}),
        parity=parity or grid.as_json(),
        golden=golden,
        labels=served.labels,
        class_labels=served.class_labels,
        preparation=served.preparation,
        parameters=parameters,
        scheduling=served.scheduling,
        part_of=part_of,
    )


def module_manifest(
    served: Served, proofs: list[Proof], path: Path, source: dict[str, Any], hashes: dict[str, str]
) -> dict[str, Any]:
    """What is known of the proven file `path`, for its manifest."""
    model = onnx.load(path, load_external_data=False)
    return {
        "format": 1,
        "source": {"kind": "module", "score": "none: a module without a recipe", **source},
        "precision": "fp32",
        "exporter": proofs[-1].exporter,
        "rejected_exporters": {other.exporter: list(other.failures[:20]) for other in proofs[:-1]},
        "unclean": list(proofs[-1].unclean),
        "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "nodes_before_cleaning": proofs[-1].exported_nodes,
        "bytes": sum(file.stat().st_size for file in path.parent.iterdir()),
        "uncovered": list(proofs[-1].grid.uncovered) if proofs[-1].grid else [],
        "tolerance": tolerances(served, proofs[-1].grid.alone() if proofs[-1].grid else None),
        "sha256": hashes,
        "packages": package_versions(*PACKAGES),
        "git_commit": git_commit(),
    }


def _golden(served: Served, path: Path) -> dict[str, np.ndarray]:
    """The first examples with the file's own answers; without batches those whose answers have the first's shapes."""
    predict = in_batches(onnx_predict(path), served.largest_batch)
    inputs = {name: array[:GOLDEN_ITEMS] for name, array in served.examples.items()}
    if served.batched:
        return golden_arrays(inputs, predict(inputs))
    items = range(len(next(iter(inputs.values()))))
    answers = [predict({name: array[[item]] for name, array in inputs.items()}) for item in items]
    shapes = [{name: array.shape for name, array in answer.items()} for answer in answers]
    alike = [item for item in items if shapes[item] == shapes[0]]
    outputs = {name: np.concatenate([answers[item][name] for item in alike]) for name in answers[0]}
    return golden_arrays({name: array[alike] for name, array in inputs.items()}, outputs)
