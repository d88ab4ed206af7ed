"""A tokenizer of a few words in front of a small graph, published as an ensemble that takes text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from conch.contracts.golden import golden_arrays
from serving.backends.tokenizer.tokenization import Tokenization
from serving.repository.publication import put
from serving.repository.publish import prepare
from serving.repository.text_pipeline import MODEL, TEXT, check_names, prepare_tokenizer, prepare_whole
from tests.support import graphs

WORDS = ("[PAD]", "[UNK]", "good", "bad", "food")
PARTS = ("{}_tokenizer", "{}_model")
LIMIT = 6
TEXTS = ("good food", "BAD food", "good bad", "so good")
MANIFEST = {"opset": 20, "source": {"kind": "pretrained"}, "score": {"weights": [], "onnx": []}}
"""As of a model that no recipe scores."""
GRAPH = """
worth (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask) => (float[batch, 2] answers)
<int64[1] axis = {{1}}, float factor = {{{factor}}}>
{{ counted = Mul(input_ids, attention_mask)
  one = ReduceSum<keepdims = 1>(counted, axis)
  other = ReduceSum<keepdims = 1>(attention_mask, axis)
  both = Concat<axis = 1>(one, other)
  numbers = Cast<to = 1>(both)
  answers = Mul(numbers, factor) }}
"""
"""The sum of a text's tokens and their number, times a factor."""


def answer(text: str, factor: float = 1) -> list[float]:
    """What the ensemble answers."""
    tokens = [WORDS.index(word) if word in WORDS else 1 for word in text.lower().split()][:LIMIT]
    return [factor * sum(tokens), factor * len(tokens)]


def write_tokenizer(file: Path, limit: int = LIMIT) -> Path:
    """A tokenizer.json of `WORDS`, with no tokens around a text."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(limit)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(file))
    return file


def publish_text(repository: Path, name: str = "worth", factor: float = 1, replace_contract: bool = False) -> Path:
    """Publish the next version of `name` and its parts; its folder."""
    repository.mkdir(parents=True, exist_ok=True)
    check_names(name, repository)
    beside = repository.parent
    file = write_tokenizer(beside / "tokenizer.json")
    graph = graphs.write(GRAPH.format(factor=factor), beside / "worth.onnx")
    tokens = Tokenization(file)(TEXTS)
    tokens = {key: tokens[key] for key in ("input_ids", "attention_mask")}
    texts, answers = np.array(TEXTS), np.array([answer(text, factor) for text in TEXTS], np.float32)
    proof = {"passed": True, "cells": []}
    model = prepare(
        graph, name=f"{name}{MODEL}", max_batch_size=4, manifest={**MANIFEST, "part_of": name}, parity=proof,
        golden=golden_arrays(tokens, {"answers": answers}), part_of=name,
    )  # fmt: skip
    tokenizer = prepare_tokenizer(
        name, file, model.config, {"packages": {"tokenizers": "0.1"}}, proof, golden_arrays({TEXT: texts}, tokens), 1e4
    )
    whole = prepare_whole(
        name, tokenizer.config, model.config, MANIFEST, proof, golden_arrays({TEXT: texts}, {"answers": answers}),
        {},
    )  # fmt: skip
    return put(repository, [tokenizer, model, whole], replace_contract)[-1]
