"""What `--json` of an export says: docs/json.md has the keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conch.contracts.errors import ConchError
from export.precision.gate import Try
from export.proof.prove import Proof
from export.publication.pipeline import Exported, ProofFailed, metrics_json


def exported_document(exported: Exported) -> dict[str, Any]:
    """Of a published version."""
    rejected = [proof_document(proof) for proof in exported.rejected]
    found = _model(exported.served.name, exported.version) | proof_document(exported.proof)
    return found | {"rejected": rejected}


def failure_document(model: str, error: ConchError, tries: Sequence[Try] = ()) -> dict[str, Any]:
    """Of what was not published: why, and every exporter or variant that was tried."""
    rejected = [proof_document(proof) for proof in error.proofs] if isinstance(error, ProofFailed) else []
    found = _model(model, None) | {"error": str(error), "rejected": rejected}
    return found | ({"tries": tries_document(tries)} if tries else {})


def up_to_date_document(model: str) -> dict[str, Any]:
    """Of what `--if-changed` left as it is."""
    return _model(model, None) | {"up_to_date": True}


def variant_document(model: str, version: Path, tries: Sequence[Try], chosen: Try) -> dict[str, Any]:
    """Of a variant in another precision."""
    return _model(model, version) | {"tries": tries_document(tries, chosen)}


def proof_document(proof: Proof) -> dict[str, Any]:
    """Of one exporter's file; `parity` is what parity.json has."""
    return {
        "exporter": proof.exporter,
        "failures": list(proof.failures),
        "culprit": str(proof.culprit) if proof.culprit else None,
        "unclean": list(proof.unclean),
        "score": {"weights": metrics_json(proof.weights_score), "onnx": metrics_json(proof.onnx_score)},
        "parity": proof.as_json() if proof.grid else None,
    }


def tries_document(tries: Sequence[Try], chosen: Try | None = None) -> list[dict[str, Any]]:
    """What the gate found, in the order of trying."""
    return [
        {
            "method": one.method,
            "kept": list(one.kept),
            "score": metrics_json(one.score),
            "bytes": one.size,
            "size_ratio": one.size_ratio,
            "speedup": one.speedup,
            "speedup_alone": one.speedup_alone,
            "cannot_tell": list(one.cannot_tell),
            "failures": list(one.failures),
            "published": one is chosen,
        }
        for one in tries
    ]


def _model(name: str, version: Path | None) -> dict[str, Any]:
    return {"model": name, "version": str(version) if version else None}
