"""Texts to the tokens that a model takes, as the version's tokenizer.json says.

Where texts are cut and what fills up the shorter ones stand in that file. The names of special tokens in a text are
text, as with transformers' `split_special_tokens=True`: nobody sends a control token by writing its name.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

# Instances are processes of one thread each, as of the other models: those of the library would take all cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import tokenizers

SHOWN = 12
"""Tokens of a text in a message."""


class Tokenization:
    """A tokenizer, as a file says it."""

    def __init__(self, file: Path) -> None:
        """Read a `tokenizer.json`; raises an `Exception` of the library's where it cannot be read."""
        self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        self._tokenizer.encode_special_tokens = True

    def __call__(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """`input_ids`, `attention_mask` and `token_type_ids`, int64 [texts, tokens of the longest].

        Raises:
            ValueError: there is no text, or one of them has no tokens at all, which no model answers.
        """
        found = self._tokenizer.encode_batch(list(texts))
        if not found:
            raise ValueError("there is no text")
        if none := [row for row, encoding in enumerate(found) if not any(encoding.attention_mask)]:
            raise ValueError(f"text {none[0]} has no tokens, and there is nothing to answer")
        return {
            "input_ids": np.array([encoding.ids for encoding in found], np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in found], np.int64),
            "token_type_ids": np.array([encoding.type_ids for encoding in found], np.int64),
        }


def decoded(texts: np.ndarray) -> list[str]:
    """BYTES [batch, 1] as text.

    Raises:
        ValueError: one of them is not UTF-8.
    """
    found = []
    for row, text in enumerate(texts.reshape(-1)):
        try:
            found.append(text.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"text {row} is not UTF-8: its byte {error.start} is 0x{text[error.start]:02x}") from error
    return found


def departure(tokenization: Tokenization, golden: Mapping[str, np.ndarray]) -> str:
    """Whether texts get other tokens than were proven, as by another release of the library; "" where none does.

    Args:
        golden: `inputs/text` [items, 1] and `outputs/<tensor>` [items, tokens], each item of the same length.
    """
    texts = [str(text) for text in golden["inputs/text"].reshape(-1)]
    got = tokenization(texts)
    names = [key.removeprefix("outputs/") for key in golden if key.startswith("outputs/")]
    for name in names:
        expected = golden[f"outputs/{name}"]
        wrong = [row for row in range(len(texts)) if not np.array_equal(got[name][row], expected[row])]
        if wrong:
            return (
                f"'{name}' of {texts[wrong[0]][:60]!r} is {got[name][wrong[0]][:SHOWN].tolist()}, proven was "
                f"{expected[wrong[0]][:SHOWN].tolist()}: tokenizers {tokenizers.__version__} computes otherwise"
            )
    return ""
