"""A proven model with its tokenizer in front: in one graph that takes text, or as a model of its own before it.

Either way the tokens of many texts are held against the Python tokenizer's, and the whole is proven anew.
"""

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
from export.pretrained.tokenizer_file import tokenize_in_front, write_tokenizer
from export.pretrained.tokenizer_graph import TEXT, NotInGraph, tokenizer_graph, with_tokenizer
from export.pretrained.tokenizer_proof import TokenizerProof, prove_tokenizer
from export.proof.runtime import onnx_predict
from training.score import Predict
from training.served import Served
from training.tensors import Tensor


@dataclass(frozen=True)
class TextIn:
    """What takes text, and what was shown of it."""

    served: Served
    tokenizer: TokenizerProof
    own: OwnProof
    predict: Predict
    """Text [batch] to answers."""
    graph: Path | None = None
    """The file that takes text, where there is one."""
    file: Path | None = None
    """The tokenizer.json of the model in front, where that is one of its own."""
    because: str = ""
    """Why it is."""

    def as_json(self) -> dict[str, Any]:
        """For parity.json."""
        return {"tokenizer": self.tokenizer.as_json(), "own_answers": self.own.as_json()}


def check_takes_text(subject: Subject) -> None:
    """Raise a `ConchError`, before anything is converted, where the task is about pairs or tokens, or the tokenizer
    runs in Python alone."""
    if subject.tokens is None:
        raise ConchError(
            "--with-tokenizer is for tasks with one answer to one text (text-classification, embeddings): "
            "here the texts are pairs, the answer is about tokens that a client would not see, or there is no text"
        )
    if getattr(subject.tokens.tokenizer, "backend_tokenizer", None) is None:
        raise ConchError(
            f"--with-tokenizer: {type(subject.tokens.tokenizer).__name__} is no tokenizer of the library tokenizers, "
            "and nothing else tokenizes on a server; leave the flag out, and let the client tokenize"
        )


def take_text(subject: Subject, answers: OwnAnswers, path: Path, folder: Path) -> TextIn:
    """Put the tokenizer in front of the proven file `path`; what is written goes into `folder`, which is made.

    Raises:
        ConchError: the tokens are not the Python tokenizer's, or the answers to a text are not transformers' own.
    """
    folder.mkdir()
    try:
        return _in_graph(subject, answers, path, folder)
    except NotInGraph as reason:
        return _in_front(subject, answers, path, folder, str(reason))


def _in_graph(subject: Subject, answers: OwnAnswers, path: Path, folder: Path) -> TextIn:
    if (path.parent / EXTERNAL_DATA).exists():
        raise NotInGraph("the weights are too large for one file")
    model = onnx.load(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    tokenizer = tokenizer_graph(subject.tokens, opset, model.ir_version)
    alone, whole = folder / "tokenizer.onnx", folder / "model.onnx"
    onnx.save(tokenizer, alone)
    tokenize = onnx_predict(alone)
    shown = prove_tokenizer(lambda texts: tokenize({TEXT: np.array(texts, dtype=object)}), subject.tokens)
    if shown.different:
        raise NotInGraph(
            f"its graph differs from the Python tokenizer on {shown.different} of {shown.texts} texts, first "
            f"{shown.first}"
        )
    onnx.save(with_tokenizer(tokenizer, model), whole)
    alone.unlink()  # what lies beside the model is counted as its own
    return _proven(subject, answers, shown, onnx_predict(whole), graph=whole)


def _in_front(subject: Subject, answers: OwnAnswers, path: Path, folder: Path, because: str) -> TextIn:
    file = write_tokenizer(subject.tokens, folder)
    tokenize = tokenize_in_front(file)
    shown = prove_tokenizer(tokenize, subject.tokens)
    if shown.different:
        raise ConchError(
            f"{subject.served.name}: nothing was published, {file.name} alone differs from the Python tokenizer on "
            f"{shown.different} of {shown.texts} texts, first {shown.first}; leave --with-tokenizer out"
        )
    answer, names = onnx_predict(path), subject.tokens.names

    def predict(inputs: Any) -> dict[str, np.ndarray]:
        tokens = tokenize([str(text) for text in inputs[TEXT].reshape(-1)])
        return dict(answer({name: tokens[name] for name in names}))

    return replace(_proven(subject, answers, shown, predict, file=file), because=because)


def _proven(
    subject: Subject, answers: OwnAnswers, shown: TokenizerProof, predict: Predict, graph: Path | None = None,
    file: Path | None = None,
) -> TextIn:  # fmt: skip
    """What was shown of `predict` as a whole.

    Raises:
        ConchError: the answers to a text are not transformers' own.
    """
    # The longest text of the proof is cut there, and one that is served where the model ends, which may be later.
    as_served = subject.tokens.proven == subject.tokens.limit
    texts = subject.texts if as_served else subject.texts[:-1]
    served = replace(
        subject.served,
        inputs=(Tensor(TEXT, "object", ("batch",)),),
        examples={TEXT: np.array(subject.texts[:-1], dtype=object)},
        sizes={},
    )
    items = [{TEXT: np.array(text, dtype=object)} for text in texts]
    own = prove_own(
        replace(subject, served=served, items=items, padding={}),
        OwnAnswers(answers.float32[: len(texts)], answers.float64[: len(texts)]),
        predict,
    )
    if own.failures:
        raise ConchError(f"{served.name}: nothing was published, with its tokenizer {own.failures[0]}")
    return TextIn(served, shown, own, predict, graph, file)
