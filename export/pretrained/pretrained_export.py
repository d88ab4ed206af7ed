"""A prepared folder to a published version: convert, prove on the grid and against transformers, score, publish."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.conversion.convert import Exporter
from export.modules.module_export import publish_module
from export.pretrained.own_answers import OwnAnswers, OwnProof, agreement, answer_all, prove_own
from export.pretrained.picture_in import ENCODING, check_processor, see
from export.pretrained.subject import Subject
from export.pretrained.text_in import check_covered, fuse
from export.proof.pace import Pace
from export.proof.prove import Proof, convert_and_compare, score_failures
from export.proof.runtime import onnx_predict
from export.publication.pipeline import Exported, first_proven, metrics_json
from serving.onnx_files.releases import Release
from training.predict import run_served


def export_pretrained(
    subject: Subject,
    source: Mapping[str, Any],
    hashes: Mapping[str, str],
    exporter: Exporter | None = None,
    pace: Pace | None = None,
    release: Release | None = None,
    replace_contract: bool = True,
    with_tokenizer: bool = False,
    with_image_processor: bool = False,
) -> tuple[Exported, OwnProof]:
    """Convert, prove and publish a subject.

    Args:
        subject: with the module, its examples and transformers' own way.
        source: where it comes from, for the manifest.
        hashes: SHA-256 of the files it was made from, for the manifest.
        exporter: one of `EXPORTERS`; without, the first whose file passes the proof.
        pace: told what is being done; where it has a limit of time, the grid is cut to it.
        release: the oldest Triton release that has to load the file.
        replace_contract: as `publish` says.
        with_tokenizer: put the tokenizer into the graph, so that it takes text.
        with_image_processor: put the image processor into the graph, so that it takes PNG files.

    Raises:
        ProofFailed: no exporter's file passed; nothing was published.
        ConchError: transformers fails on the items, or answers all of them alike.
        ServingError: the repository cannot be written.
    """
    pace, served = pace or Pace(), subject.served
    if with_tokenizer:
        check_covered(subject)
    if with_image_processor:
        check_processor(subject)
    pace.tell(f"{served.name}: asking transformers")
    answers = answer_all(subject)
    shown: dict[Exporter, OwnProof] = {}
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        path = Path(folder) / "model.onnx"

        def prove(candidate: Exporter) -> Proof:
            pace.tell(f"{served.name}: {candidate} exporter, parity grid")
            proof = convert_and_compare(served, path, candidate, release, pace)
            if proof.failures:
                return proof
            pace.tell(f"{served.name}: against transformers' own answers")
            scored, shown[candidate] = _against_transformers(subject, answers, proof, path)
            return scored

        proofs = first_proven(served, exporter, prove)
        pace.tell(f"{served.name}: publishing")
        proof = proofs[-1]
        own = shown[proof.exporter]
        parity = proof.as_json() | {"own_answers": own.as_json()}
        if with_tokenizer:
            pace.tell(f"{served.name}: the tokenizer's graph against the Python tokenizer")
            fused = fuse(subject, answers, path, Path(folder) / "with-tokenizer")
            served, path, parity = fused.served, fused.path, parity | fused.as_json()
        parameters = dict(subject.parameters)
        if with_image_processor:
            pace.tell(f"{served.name}: the image processor's graph against the Python processor")
            seen = see(subject, answers, path, Path(folder) / "with-image-processor")
            served, path, parity, parameters = seen.served, seen.path, parity | seen.as_json(), parameters | ENCODING
        score = {"weights": metrics_json(proof.weights_score), "onnx": metrics_json(proof.onnx_score)}
        version = publish_module(
            served, proofs, path, dict(source), dict(hashes), changes={"score": score},
            parity=parity, parameters=parameters, replace_contract=replace_contract,
        )  # fmt: skip
    return Exported(served, proof, tuple(proofs[:-1]), version), own


def _against_transformers(subject: Subject, answers: OwnAnswers, proof: Proof, path: Path) -> tuple[Proof, OwnProof]:
    """The proof with what transformers' own answers and the score add to it."""
    predict = onnx_predict(path)
    own = prove_own(subject, answers, predict)
    if own.failures:
        return replace(proof, failures=own.failures), own
    weights = tuple(agreement(subject, answers, lambda inputs: run_served(subject.served, inputs)))
    exported = tuple(agreement(subject, answers, predict))
    failures = tuple(score_failures(weights, exported))
    return replace(proof, failures=failures, weights_score=weights, onnx_score=exported), own
