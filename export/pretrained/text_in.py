"""A proven model with its tokenizer in front, in one graph that takes text, proven anew as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conch.contracts.errors import ConchError
from export.conversion.convert import EXTERNAL_DATA
from export.pretrained.own_answers import OwnAnswers, OwnProof, prove_own
from export.pretrained.subject import Subject
from export.pretrained.tokenizer_graph import TEXT, tokenizer_graph, with_tokenizer
from export.pretrained.tokenizer_proof import TokenizerProof, prove_tokenizer
from export.proof.runtime import onnx_predict
from training.served import Served
from training.tensors import Tensor


@dataclass(frozen=True)
class Fused:
    """The file that takes text, and what was shown of it."""

    served: Served
    path: Path
    tokenizer: TokenizerProof
    own: OwnProof

    def as_json(self) -> dict[str, Any]:
        """For parity.json."""
        return {"tokenizer": self.tokenizer.as_json(), "own_answers": self.own.as_json()}


def check_covered(subject: Subject) -> None:
    """Refuse, before anything is converted, what has no graph for its tokenizer.

    Raises:
        ConchError: the task is about pairs or tokens, or the tokenizer is of another kind.
    """
    if subject.tokens is None:
        raise ConchError(
            "--with-tokenizer is for tasks with one answer to one text (text-classification, embeddings): "
            "here the texts are pairs, the answer is about tokens that a client would not see, or there is no text"
        )
    tokenizer_graph(subject.tokens, 18, 10)


def fuse(subject: Subject, answers: OwnAnswers, path: Path, folder: Path) -> Fused:
    """Put the tokenizer in front of the proven file `path`; the result is written into `folder`.

    Raises:
        ConchError: the graph's tokens are not the Python tokenizer's, the answers to a text are not transformers' own,
            or the weights lie outside the file.
    """
    if (path.parent / EXTERNAL_DATA).exists():
        raise ConchError("--with-tokenizer: the weights are too large for one file, which is not covered")
    model = onnx.load(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    tokenizer = tokenizer_graph(subject.tokens, opset, model.ir_version)
    folder.mkdir()
    alone, whole = folder.with_name("tokenizer.onnx"), folder / "model.onnx"
    onnx.save(tokenizer, alone)
    shown = prove_tokenizer(alone, subject.tokens)
    if shown.different:
        raise ConchError(
            f"{subject.served.name}: nothing was published, the tokenizer's graph differs from the Python tokenizer on "
            f"{shown.different} of {shown.texts} texts, first {shown.first}; leave --with-tokenizer out"
        )
    onnx.save(with_tokenizer(tokenizer, model), whole)
    texts = [{TEXT: np.array(text, dtype=object)} for text in subject.texts]
    served = replace(
        subject.served,
        inputs=(Tensor(TEXT, "object", ("batch",)),),
        examples={TEXT: np.array(subject.texts[:-1], dtype=object)},
        sizes={},
    )
    own = prove_own(replace(subject, served=served, items=texts, padding={}), answers, onnx_predict(whole))
    if own.failures:
        raise ConchError(f"{served.name}: nothing was published, with its tokenizer {own.failures[0]}")
    return Fused(served, whole, shown, own)
