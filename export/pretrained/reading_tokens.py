"""Tasks that answer for places in a text: token classification, question answering, fill-mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.pretrained.folder import Folder
from export.pretrained.serving_text import text_subject
from export.pretrained.subject import Named, Subject, Tensors
from export.pretrained.texts import long_text
from export.pretrained.tokens import load_tokens
from export.pretrained.wanted import Wanted
from training.tensors import Tensor


def tag(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `probabilities` float32 [batch, sequence, labels]: of each token, those of padding to be left out.

    Raises:
        ConchError: there is no tokenizer, or the texts are not what they have to be.
    """
    tokens = load_tokens(folder, model, wanted.tokenizer)
    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
    texts, _ = wanted.chosen_texts()

    def answer(model: Any, given: Tensors) -> Named:
        return {"probabilities": model(**given).logits.softmax(-1)}

    return text_subject(
        wanted, tokens, model, [tokens.item(*text) for text in (*texts, (long_text(),))], answer, answer,
        outputs=(Tensor("probabilities", "float32", ("batch", "sequence", len(labels))),),
        same=lambda one, other: _same_class(one["probabilities"], other["probabilities"]),
        labels={"probabilities": labels},
    )  # fmt: skip


def answer_questions(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `start` and `end` float32 [batch, sequence] of pairs of a question and a text: scores of each token
    to begin and to end the answer.

    Raises:
        ConchError: there is no tokenizer, or the texts are no pairs.
    """
    tokens = load_tokens(folder, model, wanted.tokenizer)
    texts, _ = wanted.chosen_texts(pairs=True)
    pairs = [tokens.item(*text, cut="only_second") for text in (*texts, (texts[0][0], long_text()))]

    def answer(model: Any, given: Tensors) -> Named:
        found = model(**given)
        return {"start": found.start_logits, "end": found.end_logits}

    return text_subject(
        wanted, tokens, model, pairs, answer, answer,
        outputs=tuple(Tensor(name, "float32", ("batch", "sequence")) for name in ("start", "end")),
        same=lambda one, other: all(_same_class(one[name], other[name]) for name in ("start", "end")),
    )  # fmt: skip


def fill_mask(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `probabilities` float32 [batch, vocabulary] of what stands at the first mask of each text.

    Raises:
        ConchError: there is no tokenizer, or it has no mask.
    """
    tokens = load_tokens(folder, model, wanted.tokenizer)
    mask = tokens.tokenizer.mask_token_id
    if mask is None:
        raise ConchError(f"{folder.path}: its tokenizer has no mask token, which fill-mask asks for")
    texts, _ = wanted.chosen_texts()
    masked = [_masked(text, tokens.tokenizer.mask_token) for (text, *_) in (*texts, (long_text(),))]

    def answer(model: Any, given: Tensors) -> Named:
        place = (given["input_ids"] == mask).int().argmax(1)
        logits = model(**given).logits
        return {"probabilities": logits[torch.arange(logits.shape[0]), place].softmax(-1)}

    def own(model: Any, given: Tensors) -> Named:
        place = given["input_ids"][0].tolist().index(mask)
        return {"probabilities": model(**given).logits[:, place].softmax(-1)}

    return text_subject(
        wanted, tokens, model, [tokens.item(text) for text in masked], answer, own,
        outputs=(Tensor("probabilities", "float32", ("batch", model.config.vocab_size)),),
        same=lambda one, other: _same_class(one["probabilities"], other["probabilities"]),
    )  # fmt: skip


def _masked(text: str, mask: str) -> str:
    """The text with a mask: where it has none, in place of one of its first words."""
    if mask in text:
        return text
    words = text.split(" ")
    place = min(2, len(words) // 2)
    return " ".join([*words[:place], mask, *words[place + 1 :]])


def _same_class(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one.argmax(-1), other.argmax(-1)))
