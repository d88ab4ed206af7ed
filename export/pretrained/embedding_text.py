"""Embeddings: one vector a text, pooled from its tokens' vectors as the folder says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.pretrained.folder import Folder
from export.pretrained.serving_text import last_token, text_subject
from export.pretrained.subject import Named, Subject, Tensors
from export.pretrained.texts import long_text
from export.pretrained.tokens import load_tokens
from export.pretrained.wanted import Pooling, Wanted
from training.tensors import Tensor

OUTPUT = "embedding"
MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"
}  # fmt: skip
"""In `1_Pooling/config.json` of Sentence Transformers."""


def embed_text(folder: Folder, model: Any, wanted: Wanted) -> Subject:
    """Serve `embedding` float32 [batch, width]: the mean of a text's token vectors, the first or the last of them.

    Raises:
        ConchError: there is no tokenizer, or the folder asks for a pooling that is not known here.
    """
    tokens = load_tokens(folder, model, wanted.tokenizer)
    if limit := _setting(folder, "sentence_bert_config.json", "max_seq_length"):
        tokens = replace(tokens, limit=min(limit, tokens.limit or limit))
    pooling = wanted.pooling or folders_pooling(folder)
    normalized = wanted.normalized
    chosen, _ = wanted.chosen_texts()
    texts = [*(text for text, *_ in chosen), long_text()]

    def answer(model: Any, given: Tensors) -> Named:
        pooled = _pooled(_hidden(model, given), given["attention_mask"], pooling)
        return {OUTPUT: torch.nn.functional.normalize(pooled, dim=-1) if normalized else pooled}

    def own(model: Any, given: Tensors) -> Named:
        vectors = _hidden(model, given)[0]
        one = {"mean": vectors.mean(0), "cls": vectors[0], "last": vectors[-1]}[pooling]
        return {OUTPUT: (one / one.norm() if normalized else one)[None]}

    subject = text_subject(
        wanted, tokens, model, [tokens.item(text) for text in texts], answer, own,
        outputs=(Tensor(OUTPUT, "float32", ("batch", model.config.hidden_size)),),
        same=lambda one, other: _cosine(one[OUTPUT], other[OUTPUT]) > 0.9999, texts=texts,
    )  # fmt: skip
    said = f"{pooling} pooling, {'of length 1' if normalized else 'not normalized'}"
    return replace(subject, told=(*subject.told, said), source={**subject.source, "pooling": said})


def folders_pooling(folder: Folder) -> Pooling:
    """What Sentence Transformers would do with the folder; the mean where it is none of theirs.

    Raises:
        ConchError: it has modules behind the pooling, or a pooling that is not known here.
    """
    file = folder.path / "modules.json"
    kinds = [str(module["type"]).rpartition(".")[2] for module in json.loads(file.read_text())] if file.exists() else []
    if odd := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]:
        raise ConchError(f"{file}: it has a {odd[0]} behind the pooling, which is not covered; conch export module is")
    settings = folder.path / "1_Pooling" / "config.json"
    if not settings.exists():
        return "mean"
    asked = [
        key
        for key, value in json.loads(settings.read_text()).items()
        if key.startswith("pooling_mode_") and value is True
    ]
    if len(asked) != 1 or asked[0] not in MODES:
        raise ConchError(f"{settings} asks for {', '.join(asked) or 'no pooling'}; --pooling takes mean, cls and last")
    return MODES[asked[0]]


def _hidden(model: Any, given: Tensors) -> torch.Tensor:
    """Vectors [batch, sequence, width]; those of the encoder where there is a decoder."""
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model
    hidden: torch.Tensor = encoder(**given).last_hidden_state
    return hidden


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return last_token(hidden, mask)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def _setting(folder: Folder, file: str, key: str) -> int | None:
    path = folder.path / file
    found = json.loads(path.read_text()).get(key) if path.exists() else None
    return int(found) if found else None


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
