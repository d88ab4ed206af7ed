"""A tokenizer and a model of tokens, published as an ensemble that takes text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conch.contracts.ensembles import PART_OF
from conch.contracts.fingerprint import git_commit, package_versions, sha256_of_file
from conch.contracts.golden import golden_arrays
from export.modules.module_export import module_manifest, prepare_module
from export.pretrained.subject import Subject
from export.pretrained.text_in import TextIn
from export.pretrained.tokenizer_file import golden_tokens, tokenize_in_front
from export.proof.prove import Proof
from export.publication.pipeline import GOLDEN_ITEMS, repository_folder
from serving.repository.folder import check_level
from serving.repository.publication import put
from serving.repository.text_pipeline import MODEL, check_names, prepare_tokenizer, prepare_whole
from training.predict import in_batches


def publish_ensemble(
    subject: Subject,
    text: TextIn,
    proofs: list[Proof],
    path: Path,
    source: Mapping[str, Any],
    hashes: Mapping[str, str],
    score: Mapping[str, Any],
    parity: Mapping[str, Any],
    replace_contract: bool,
) -> Path:
    """Publish `NAME_tokenizer`, `NAME_model` and `NAME`, all or none; the version's folder of the last.

    Args:
        subject: the model of tokens.
        text: what was shown of the tokenizer in front of it.
        proofs: of the file `path`, the passed one last.
        source: where it comes from, for the manifests.
        hashes: SHA-256 of the files it was made from, for the manifests.
        score: as the manifest has it.
        parity: the proofs of the model of tokens.
        replace_contract: as `publish` says.

    Raises:
        ServingError: the repository cannot be written, or another model has one of the names.
    """
    assert text.file is not None, "a tokenizer in front is a file"
    repository, name = repository_folder(), subject.served.name
    check_level(repository)
    check_names(name, repository)
    model = prepare_module(
        subject.served, proofs, path, dict(source), dict(hashes), f"{name}{MODEL}",
        {"score": score, PART_OF: name}, parity, subject.parameters, part_of=name,
    )  # fmt: skip
    tokenize = tokenize_in_front(text.file)
    golden, texts_per_s = golden_tokens(subject.tokens, tokenize)
    tokenizer = prepare_tokenizer(
        name, text.file, model.config, _tokenizer_manifest(source, hashes, text.file),
        text.tokenizer.grid(subject.tokens.names).as_json() | {"tokenizer": text.tokenizer.as_json()}, golden,
        texts_per_s,
    )  # fmt: skip
    examples = {tensor: array[:GOLDEN_ITEMS] for tensor, array in text.served.examples.items()}
    whole = prepare_whole(
        name, tokenizer.config, model.config,
        module_manifest(subject.served, proofs, path, dict(source), dict(hashes)) | {"score": score},
        dict(parity) | text.as_json(),
        golden_arrays(examples, in_batches(text.predict, subject.served.largest_batch)(examples)),
        text.served.labels,
    )  # fmt: skip
    return put(repository, [tokenizer, model, whole], replace_contract)[-1]


def _tokenizer_manifest(source: Mapping[str, Any], hashes: Mapping[str, str], file: Path) -> dict[str, Any]:
    made_of = {key: digest for key, digest in hashes.items() if not key.startswith("weights")}
    return {
        "format": 1,
        "source": {**source, "score": "none: tokens are compared, all of them"},
        "bytes": file.stat().st_size,
        "tolerance": {},
        "sha256": made_of | {"tokenizer": sha256_of_file(file)},
        "packages": package_versions("tokenizers", "transformers", "numpy"),
        "git_commit": git_commit(),
    }
