"""A prepared folder to published versions: convert, prove on the grid and against transformers, score, publish."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export.conversion.convert import Exporter
from export.modules.module_export import publish_module
from export.pretrained.own_answers import OwnAnswers, OwnProof, agreement, answer_all, prove_own
from export.pretrained.picture_in import ENCODING, check_processor, see
from export.pretrained.publishing_text import publish_ensemble
from export.pretrained.subject import Subject
from export.pretrained.text_in import TextIn, check_takes_text, take_text
from export.proof.pace import Pace
from export.proof.prove import Proof, convert_and_compare, score_failures
from export.proof.runtime import onnx_predict
from export.publication.pipeline import Exported, first_proven, metrics_json
from serving.onnx_files.releases import Release
from serving.repository.text_pipeline import MODEL, TOKENIZER
from training.predict import run_served
from training.served import Served


@dataclass(frozen=True)
class How:
    """The choices that decide how a subject becomes a file."""

    exporter: Exporter | None = None
    """Without, the first whose file passes the proof."""
    pace: Pace | None = None
    """Told what is being done; where it has a limit of time, the grid is cut to it."""
    release: Release | None = None
    """The oldest Triton release that has to load the file."""
    replace_contract: bool = True
    """As `publish` says."""
    with_tokenizer: bool = False
    """Put the tokenizer in front, so that it takes text: into the graph, or as a step of an ensemble."""
    with_image_processor: bool = False
    """Put the image processor into the graph, so that it takes PNG files."""


@dataclass(frozen=True)
class Proven:
    """A file that passed every proof, not published yet."""

    subject: Subject
    served: Served
    """What the file is: the subject's own, but where something was put in front of it."""
    path: Path
    proofs: Sequence[Proof]
    """The passed one last."""
    own: OwnProof
    parity: Mapping[str, Any]
    parameters: Mapping[str, str]
    text: TextIn | None = None
    """Where it takes text, what was shown of that."""

    @property
    def told(self) -> tuple[str, ...]:
        """What takes text, in words."""
        if self.text is None:
            return ()
        if self.text.graph is not None:
            return (f"{self.served.name} takes text: its tokenizer is in the graph",)
        name = self.served.name
        return (f"{name} takes text: an ensemble of {name}{TOKENIZER} and {name}{MODEL}, for {self.text.because}",)


def export_pretrained(
    subjects: Sequence[Subject], source: Mapping[str, Any], hashes: Mapping[str, str], how: How
) -> list[tuple[Exported, OwnProof, tuple[str, ...]]]:
    """Convert and prove all subjects of a folder, then publish them: all or none; each with what is to be told of it.

    Args:
        subjects: each with the module, its examples and transformers' own way.
        source: where they come from, for the manifest.
        hashes: SHA-256 of the files they were made from, for the manifest.
        how: the user's choices.

    Raises:
        ProofFailed: of one no exporter's file passed; nothing was published.
        ConchError: transformers fails on the items, or answers all of them alike.
        ServingError: the repository cannot be written.
    """
    pace = how.pace or Pace()
    for subject in subjects:
        if how.with_tokenizer:
            check_takes_text(subject)
        if how.with_image_processor and (subject.pictures is not None or len(subjects) == 1):
            check_processor(subject)
    answers = []
    for subject in subjects:  # before anything is converted: transformers may have no answers that prove something
        pace.tell(f"{subject.served.name}: asking transformers")
        answers.append(answer_all(subject))
    with tempfile.TemporaryDirectory(prefix="conch-export-") as folder:
        proven: list[Proven] = []
        for subject, own in zip(subjects, answers, strict=True):
            path = Path(folder) / subject.served.name / "model.onnx"
            path.parent.mkdir()
            proven.append(_prove(_with_encoder(subject, proven), own, path, how, pace))
        return [(_publish(one, source, hashes, how, pace), one.own, one.told) for one in proven]


def _with_encoder(subject: Subject, proven: Sequence[Proven]) -> Subject:
    """The step of an encoder-decoder writes its texts by what the encoder's file makes of them, not its weights."""
    if not subject.generating or not subject.generating.read:
        return subject
    (path,) = (one.path for one in proven if one.served.name == subject.generating.generation.encoder)
    return replace(subject, generating=replace(subject.generating, read=onnx_predict(path)))


def _prove(subject: Subject, answers: OwnAnswers, path: Path, how: How, pace: Pace) -> Proven:
    """Write the subject into `path`."""
    served = subject.served
    shown: dict[Exporter, OwnProof] = {}

    def prove(candidate: Exporter) -> Proof:
        pace.tell(f"{served.name}: {candidate} exporter, parity grid")
        proof = convert_and_compare(served, path, candidate, how.release, pace)
        if proof.failures:
            return proof
        pace.tell(f"{served.name}: against transformers' own answers")
        scored, shown[candidate] = _against_transformers(subject, answers, proof, path)
        return scored

    proofs = first_proven(served, how.exporter, prove)
    own = shown[proofs[-1].exporter]
    proven = Proven(
        subject, served, path, proofs, own, proofs[-1].as_json() | {"own_answers": own.as_json()}, subject.parameters
    )
    if how.with_tokenizer:
        pace.tell(f"{served.name}: what tokenizes, against the Python tokenizer")
        text = take_text(subject, answers, path, path.parent.with_name(f"{served.name}-with-tokenizer"))
        proven = replace(proven, text=text)
        if text.graph is not None:
            proven = replace(proven, served=text.served, path=text.graph, parity={**proven.parity, **text.as_json()})
    if how.with_image_processor and subject.pictures is not None:
        pace.tell(f"{served.name}: the image processor's graph against the Python processor")
        seen = see(subject, answers, path, path.parent / "with-image-processor")
        proven = replace(
            proven, served=seen.served, path=seen.path, parity={**proven.parity, **seen.as_json()},
            parameters={**proven.parameters, **ENCODING},
        )  # fmt: skip
    return proven


def _publish(proven: Proven, source: Mapping[str, Any], hashes: Mapping[str, str], how: How, pace: Pace) -> Exported:
    pace.tell(f"{proven.served.name}: publishing")
    proof = proven.proofs[-1]
    score = {"weights": metrics_json(proof.weights_score), "onnx": metrics_json(proof.onnx_score)}
    came_from = {**source, **proven.subject.source}
    if proven.text is not None and proven.text.graph is None:
        version = publish_ensemble(
            proven.subject, proven.text, list(proven.proofs), proven.path, came_from, hashes, score, proven.parity,
            how.replace_contract,
        )  # fmt: skip
    else:
        version = publish_module(
            proven.served, list(proven.proofs), proven.path, came_from, dict(hashes), changes={"score": score},
            parity=dict(proven.parity), parameters=dict(proven.parameters), replace_contract=how.replace_contract,
        )  # fmt: skip
    return Exported(proven.served, proof, tuple(proven.proofs[:-1]), version)


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
