"""Weights to published versions: convert, prove, publish; or the reason why not, and nothing published."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import git_commit, package_versions, sha256_of_file
from conch.contracts.golden import golden_arrays, sequence_arrays
from conch.contracts.whole import write_whole
from export.conversion.convert import EXPORTERS, EXTERNAL_DATA, Exporter, refuse_training_mode
from export.proof.budget import tolerances
from export.proof.pace import Pace
from export.proof.prove import Proof, convert_and_prove
from export.proof.runtime import onnx_predict
from export.publication.up_to_date import PACKAGES, export_fingerprint
from serving.onnx_files.releases import Release
from serving.repository.publish import publish
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.manifest import checkpoint_folder
from training.predict import in_batches, judged_predict
from training.score import Metric
from training.served import Served

GOLDEN_ITEMS = 64
GOLDEN_SEQUENCES, GOLDEN_STEPS = 8, 64


class ProofFailed(ConchError):
    """No exporter's ONNX file computes what the weights compute."""

    def __init__(self, name: str, proofs: list[Proof]) -> None:
        self.proofs = proofs
        reasons = "; ".join(_told(proof).removeprefix(f"{name}: ") for proof in proofs)
        super().__init__(f"{name}: nothing was published, {reasons}")


def _told(proof: Proof) -> str:
    return (
        proof.failures[0]
        if proof.grid is None
        else f"the proof failed with the {proof.exporter} exporter: {proof.failures[0]}"
    )


@dataclass(frozen=True)
class Exported:
    """A published version and its proof."""

    served: Served
    proof: Proof
    rejected: tuple[Proof, ...]
    """Proofs of the exporters tried before."""
    version: Path


def repository_folder() -> Path:
    """The model repository that `serving` serves."""
    return artifacts_folder() / "models"


def export_checkpoint(
    checkpoint: Checkpoint,
    exporter: Exporter | None = None,
    pace: Pace | None = None,
    release: Release | None = None,
) -> list[Exported]:
    """Convert and prove every model that a recipe serves, then publish them all.

    Args:
        checkpoint: what `load_checkpoint` gave.
        exporter: one of `EXPORTERS`; without, the first whose file passes the proof.
        pace: told what is being done; where it has a limit of time, the grid is cut to it.
        release: the oldest Triton release that has to load the files; `releases.OLDEST` without.

    Raises:
        ProofFailed: nothing was published, of no model.
        ConchError, ServingError: the repository cannot be written.
    """
    pace = pace or Pace()
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        proven = []
        for index, served in enumerate(checkpoint.recipe.served(checkpoint.trained, checkpoint.data)):
            path = Path(folder) / served.name / "model.onnx"  # a folder each: a large model keeps its weights beside
            proofs = convert_proven(checkpoint, served, path, exporter, pace, scored=index == 0, release=release)
            proven.append((served, proofs, path))
        exported = []
        for served, proofs, path in proven:
            pace.tell(f"{served.name}: publishing")
            fingerprint = export_fingerprint(checkpoint, exporter, release=release)
            version = publish_proven(checkpoint, served, proofs, path, fingerprint)
            exported.append(Exported(served, proofs[-1], tuple(proofs[:-1]), version))
        return exported


def convert_proven(
    checkpoint: Checkpoint,
    served: Served,
    path: Path,
    exporter: Exporter | None,
    pace: Pace,
    scored: bool,
    release: Release | None = None,
) -> list[Proof]:
    """Convert into `path` with `exporter`, or with the first of all whose file passes; the proofs, the passed one last.

    Raises:
        ProofFailed: no exporter's file passed.
    """

    def prove(candidate: Exporter) -> Proof:
        pace.tell(f"{served.name}: {candidate} exporter, parity grid and score")
        return convert_and_prove(checkpoint, served, path, candidate, scored, release, pace)

    return first_proven(served, exporter, prove)


def first_proven(served: Served, exporter: Exporter | None, prove: Callable[[Exporter], Proof]) -> list[Proof]:
    """Let `prove` try `exporter`, or all until one's file passes; the proofs, the passed one last.

    Raises:
        ExportError: the module is in training mode, which no exporter takes.
        ProofFailed: no exporter's file passed.
    """
    refuse_training_mode(served)
    proofs: list[Proof] = []
    for candidate in (exporter,) if exporter else EXPORTERS:
        proofs.append(_with_log(served.name, prove(candidate)))
        if not proofs[-1].failures:
            return proofs
    raise ProofFailed(served.name, proofs)


def _with_log(name: str, proof: Proof) -> Proof:
    """Keep what a failed exporter said in a file and name it in the failure; an older one goes."""
    log = artifacts_folder() / "exporter-failures" / f"{name}-{proof.exporter}.txt"
    log.unlink(missing_ok=True)
    if not proof.details:
        return proof
    log.parent.mkdir(parents=True, exist_ok=True)
    write_whole(log, proof.details.encode())
    return replace(proof, failures=(f"{proof.failures[0]}; all it said: {log}", *proof.failures[1:]))


def publish_proven(
    checkpoint: Checkpoint,
    served: Served,
    proofs: list[Proof],
    path: Path,
    fingerprint: str,
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    parity: Any = None,
) -> Path:
    """Publish `path`, or a variant of it, with the answers that it gives itself; the version's folder.

    Args:
        name: its folder in the repository; without, the served name.
        changes: what its manifest says otherwise than that of the proven fp32 file.
        parity: its own proof (JSON); without, the parity grid of the last of `proofs`.
    """
    proof = proofs[-1]
    manifest = _manifest(checkpoint, served, proofs, path) | {"fingerprint": fingerprint} | dict(changes or {})
    return publish(
        path,
        name=name or served.name,
        repository=repository_folder(),
        max_batch_size=served.largest_batch,
        manifest=manifest,
        parity=parity or proof.as_json(),
        golden=_golden(served, path),
        labels=served.labels,
        class_labels=served.class_labels,
        states=[(state.input, state.output) for state in served.states],
        preparation=served.preparation,
        scheduling=served.scheduling,
    )


def _manifest(checkpoint: Checkpoint, served: Served, proofs: list[Proof], path: Path) -> dict[str, Any]:
    proof, model = proofs[-1], onnx.load(path, load_external_data=False)
    trained = checkpoint.manifest
    checkpoint_manifest = checkpoint_folder(trained["recipe"]) / "manifest.json"
    return {
        "format": 1,
        "recipe": trained["recipe"],
        "precision": "fp32",
        "exporter": proof.exporter,
        "rejected_exporters": {other.exporter: list(other.failures[:20]) for other in proofs[:-1]},
        "unclean": list(proof.unclean),
        "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "nodes_before_cleaning": proof.exported_nodes,
        "bytes": sum(file.stat().st_size for file in (path, path.parent / EXTERNAL_DATA) if file.exists()),
        "tolerance": tolerances(served, proof.grid.alone() if proof.grid else None),
        **({"states": {state.input: state.output for state in served.states}} if served.states else {}),
        # What it was made from, whatever is trained over it later; without paths of this machine.
        "checkpoint": {key: value for key, value in trained.items() if key != "recipe_file"},
        "score": {"weights": metrics_json(proof.weights_score), "onnx": metrics_json(proof.onnx_score)},
        "sha256": {
            "data": trained["sha256"]["data"],
            "settings": trained["sha256"]["settings"],
            "weights": trained["sha256"]["weights"],
            "checkpoint_manifest": sha256_of_file(checkpoint_manifest),
        },
        "packages": package_versions(*PACKAGES, _onnxruntime_package()),
        "git_commit": git_commit(),
    }


def _onnxruntime_package() -> str:
    """ONNX Runtime comes as one of two packages of the same module."""
    import onnxruntime

    return "onnxruntime-gpu" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "onnxruntime"


def _golden(served: Served, path: Path) -> dict[str, np.ndarray]:
    """Real inputs with the proven file's own answers, an item a row; of one with states whole sequences, too."""
    predict = onnx_predict(path)
    inputs = {name: array[:GOLDEN_ITEMS] for name, array in served.examples.items()}
    outputs = in_batches(predict, served.largest_batch)(inputs)
    found = golden_arrays(inputs, outputs)
    if served.chain is not None:
        steps = {name: array[:GOLDEN_SEQUENCES, :GOLDEN_STEPS] for name, array in served.chain.steps.items()}
        found |= sequence_arrays(steps, judged_predict(served, predict)(steps))
    return found


def metrics_json(metrics: tuple[Metric, ...]) -> list[dict[str, Any]]:
    """Metrics for a manifest."""
    result: list[dict[str, Any]] = json.loads(json.dumps([asdict(metric) for metric in metrics]))
    return result
