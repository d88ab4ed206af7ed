"""Text classification and reranking: tokens of a text or a pair in, a probability a label or a score out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from export.pretrained.folder import Folder
from export.pretrained.serving_text import last_token, text_subject
from export.pretrained.subject import Named, Subject, Tensors
from export.pretrained.texts import long_text
from export.pretrained.tokens import load_tokens
from export.pretrained.wanted import Wanted
from training.tensors import Tensor

REGRESSION, SEVERAL, ONE = "regression", "multi_label_classification", "single_label_classification"


def classify_text(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `probabilities` float32 [batch, labels] of a text, or of a pair of texts; `scores` as they are where the
    model was trained for regression.

    Raises:
        ConchError: there is no tokenizer, or the texts are not what they have to be.
    """
    return _subject(folder, model, wanted, _problem(model.config), pairs=False)


def rerank(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `scores` float32 [batch, outputs] of pairs of a question and a text, as the model gives them.

    Raises:
        ConchError: there is no tokenizer, or the texts are no pairs.
    """
    return _subject(folder, model, wanted, REGRESSION, pairs=True)


def _subject(folder: Folder, model: Any, wanted: Wanted, problem: str, pairs: bool) -> Subject:
    tokens = load_tokens(folder, model, wanted.tokenizer)
    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
    labels = () if problem == REGRESSION else labels
    name = "probabilities" if labels else "scores"
    texts, truths = wanted.chosen_texts(labels, pairs)
    long = (texts[0][0], long_text()) if pairs else (long_text(),)
    # A decoder looks at the last token, and transformers finds it by the padding's id, which may stand in a text too.
    head = model.score if hasattr(model, "score") and not model.config.is_encoder_decoder else None

    def answer(model: Any, given: Tensors) -> Named:
        if head is None:
            return {name: _answers(model(**given).logits, problem)}
        hidden = model.base_model(**given).last_hidden_state
        return {name: _answers(model.score(last_token(hidden, given["attention_mask"])), problem)}

    def own(model: Any, given: Tensors) -> Named:
        return {name: _answers(model(**given).logits, problem)}

    alone = [*(text for text, *rest in texts if not rest), long_text()]
    return text_subject(
        wanted, tokens, model, [tokens.item(*text) for text in (*texts, long)], answer, own,
        outputs=(Tensor(name, "float32", ("batch", model.config.num_labels)),),
        same=lambda one, other: _same(one[name], other[name], problem),
        labels={name: labels} if labels else {}, truths=truths, judged=name,
        texts=alone if len(alone) == len(texts) + 1 else (),
    )  # fmt: skip


def _problem(config: Any) -> str:
    """What the scores mean, as transformers' own pipeline decides it."""
    if config.problem_type in (SEVERAL, REGRESSION):
        return str(config.problem_type)
    return REGRESSION if config.num_labels == 1 else ONE


def _answers(logits: torch.Tensor, problem: str) -> torch.Tensor:
    """Logits [batch, labels] as what a client wants of them."""
    if problem == SEVERAL:
        return logits.sigmoid()
    return logits.softmax(-1) if problem == ONE else logits


def _same(one: np.ndarray, other: np.ndarray, problem: str) -> bool:
    """The same label, the same labels above one half, or the same number to two digits."""
    if problem == SEVERAL:
        return bool(np.array_equal(one > 0.5, other > 0.5))
    return bool(one.argmax() == other.argmax()) if problem == ONE else bool(np.allclose(one, other, 1e-2, 1e-2))
