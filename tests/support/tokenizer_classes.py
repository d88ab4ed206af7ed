"""Tokenizers of transformers' own classes, of small vocabularies that were trained on a text at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export.pretrained.tokens import Tokens
from tests.support.pretrained_folders import POSITIONS, tokenizer, transformers


def _words() -> dict[str, int]:
    found: dict[str, int] = json.loads(tokenizer("wordpiece").to_str())["model"]["vocab"]
    return found


def _pieces(*special: str, last: str = "") -> list[tuple[str, float]]:
    learnt = json.loads(tokenizer("unigram").to_str())["model"]["vocab"][5:]
    return [*((name, 0.0) for name in special), *map(tuple, learnt), *([(last, 0.0)] if last else [])]


def _with_added(own: Any, **settings: Any) -> Any:
    own.add_tokens(["<3", "New York", "ümlaut"])
    for name, value in settings.items():
        setattr(own, name, value)
    return own


def _llama() -> Any:
    letters = {letter: 259 + place for place, letter in enumerate("▁etaoinshrdlucmfwypvbgkqjxz")}
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": byte + 3 for byte in range(256)}, **letters}
    return transformers.LlamaTokenizer(vocab=vocabulary, merges=[])


OWN_CLASSES: Mapping[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertTokenizer(vocab=_words()),
    "bert-cased": lambda: transformers.BertTokenizer(vocab=_words(), do_lower_case=False),
    "mpnet": lambda: transformers.MPNetTokenizer(vocab=_words()),
    "t5": lambda: transformers.T5Tokenizer(vocab=_pieces("<pad>", "</s>", "<unk>"), extra_ids=10),
    "albert": lambda: transformers.AlbertTokenizer(vocab=_pieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")),
    "xlm-roberta": lambda: transformers.XLMRobertaTokenizer(
        vocab=_pieces("<s>", "<pad>", "</s>", "<unk>", last="<mask>")
    ),
    "deberta-v2": lambda: transformers.DebertaV2Tokenizer(vocab=_pieces("[PAD]", "[CLS]", "[SEP]", "[UNK]")),
    "llama": _llama,
    "added": lambda: _with_added(transformers.BertTokenizer(vocab=_words())),
    "left": lambda: _with_added(
        transformers.BertTokenizer(vocab=_words()), truncation_side="left", padding_side="left"
    ),
}


def own_tokens(kind: str, folder: Path) -> Tokens:
    """As a folder of it is read."""
    made = OWN_CLASSES[kind]()
    made.model_max_length = POSITIONS
    made.save_pretrained(folder)
    read = transformers.AutoTokenizer.from_pretrained(folder)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in read.model_input_names]
    return Tokens(read, tuple(names), POSITIONS, 1000, 2)
