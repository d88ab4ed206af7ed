"""A tokenizer as one file, for the model of a server that stands in front of the model of tokens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conch.contracts.golden import Arrays, golden_arrays
from export.pretrained.tokenizer_graph import TEXT
from export.pretrained.tokenizer_proof import named_tokens, proof_texts
from export.pretrained.tokens import Tokens
from export.publication.pipeline import GOLDEN_ITEMS
from serving.repository.text_pipeline import TOKENIZER_FILE

Tokenize = Callable[[list[str]], dict[str, np.ndarray]]
"""Texts to int64 [texts, tokens of the longest] by input name."""


def write_tokenizer(tokens: Tokens, folder: Path) -> Path:
    """Write a tokenizer.json that also says where a text is cut and what fills up a batch, always behind.

    It is what transformers made of the folder's files, which its own tokenizer.json, where it has one, need not be.
    """
    from tokenizers import Tokenizer

    own = tokens.tokenizer
    tokenizer = Tokenizer.from_str(own.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    if tokens.limit is not None:
        tokenizer.enable_truncation(tokens.limit, direction=own.truncation_side)
    tokenizer.enable_padding(pad_id=tokens.pad, pad_type_id=own.pad_token_type_id, pad_token=own.pad_token or "")
    file = folder / TOKENIZER_FILE
    tokenizer.save(str(file))
    return file


def tokenize_in_front(file: Path) -> Tokenize:
    """What the server runs, by the very code that it runs."""
    from serving.backends.tokenizer.tokenization import Tokenization

    return Tokenization(file)


def golden_tokens(tokens: Tokens, tokenize: Tokenize) -> tuple[Arrays, float]:
    """Golden texts and their tokens, and how many texts are tokenized a second, one by one.

    The texts are of many scripts, and all of the commonest number of tokens: alone or together, in whatever request,
    each gets the same answer.
    """
    texts = [text for text in proof_texts(named_tokens(tokens)) if "\0" not in text]
    rows = tokens.tokenizer(
        texts, truncation=tokens.limit is not None, max_length=tokens.limit, split_special_tokens=True
    )["input_ids"]
    usual = Counter(len(row) for row in rows if len(row) > 0).most_common(1)[0][0]
    alike = [text for text, row in zip(texts, rows, strict=True) if len(row) == usual]
    chosen = alike[:: max(1, len(alike) // GOLDEN_ITEMS)][:GOLDEN_ITEMS]
    began = time.perf_counter()
    for text in chosen:
        tokenize([text])
    per_s = len(chosen) / (time.perf_counter() - began)
    found = tokenize(chosen)
    arrays = golden_arrays({TEXT: np.array(chosen, dtype=object)}, {name: found[name] for name in tokens.names})
    return arrays, per_s
