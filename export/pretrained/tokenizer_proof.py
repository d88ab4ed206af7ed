"""What tokenizes on a server against the Python tokenizer, on texts of many scripts and on those that nobody writes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from conch.contracts.comparison import EXACT
from export.pretrained.subject import Arrays
from export.pretrained.texts import OWN, default_texts
from export.pretrained.tokens import Tokens
from export.proof.cells import Cell, Grid

TEXTS = 10_000
ROWS = 50
MOST_NAMED = 200
"""Tokens whose names are among the texts."""
SCRIPTS = (
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x400), (0x400, 0x500), (0x590, 0x600), (0x600, 0x700),
    (0x900, 0x980), (0xE00, 0xE80), (0x10A0, 0x1100), (0x2000, 0x2070), (0x2200, 0x2300), (0x3040, 0x3100),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xFB00, 0xFB50), (0xFE00, 0xFE10), (0xFF00, 0xFFF0), (0x1F300, 0x1F650),
    (0x20000, 0x2A6DF), (0x01, 0x20), (0x7F, 0xA0),
)  # fmt: skip
"""Ranges of Unicode: letters, marks, symbols, emoji, ideographs, controls. NUL is no text for Triton's clients."""
ODD = (
    "", " ", "  ", "\n", "\r\n\t", " leading", "trailing ", "two  spaces", "I'm you're we'll it's O'Neil's", "a" * 3000,
    "word " * 3000, "1234567890" * 50, "👩‍👩‍👧‍👦 🇩🇪 👍🏽", "e\u0301 é",
    "\u200bzero\u200dwidth\ufeff", "_x_ __y__ snake_case", "Ǆ ǆ ß ﬁ",
    "http://example.org/a?b=c&d=%20", "<html>&amp;</html>", "\\n \\u0041", "\U0010ffff", "‮right to left‬",
)  # fmt: skip


@dataclass(frozen=True)
class TokenizerProof:
    """What was compared, and the first that differed."""

    texts: int
    different: int
    first: str = ""

    def as_json(self) -> dict[str, Any]:
        """For parity.json."""
        return {"texts": self.texts, "different": self.different, "first": self.first, "passed": not self.different}

    def grid(self, names: Sequence[str]) -> Grid:
        """The same as a parity grid of these outputs, which has to be equal."""
        cells = [
            Cell(ROWS, {}, "real", name, 0.0, math.nan, EXACT, not self.different, self.first, elements=self.texts)
            for name in names
        ]
        return Grid(tuple(cells), (), reference="the Python tokenizer")


def named_tokens(tokens: Tokens) -> tuple[str, ...]:
    """The special tokens, and some of those that were added: what a tokenizer looks for in a text by itself."""
    own = tokens.tokenizer
    return tuple(dict.fromkeys([*own.all_special_tokens, *own.get_added_vocab()]))[:MOST_NAMED]


def proof_texts(special: tuple[str, ...], seed: int = 0) -> list[str]:
    """`TEXTS` texts: odd ones, names of tokens among words, real ones, and random ones of each script."""
    found = [*ODD, *(text for text, *_ in default_texts())]
    found += [text for name in special for text in (name, f"a {name} b", f"a{name}b", f"{name}{name}")]
    lines = (line for topic in sorted(topics) for line in topics[topic].splitlines() if line.strip())
    found += [line for _, line in zip(range(TEXTS // 4), lines, strict=False)]
    drawn = _random_texts(random.Random(seed))
    return found + [next(drawn) for _ in range(TEXTS - len(found))]


def _random_texts(rng: random.Random) -> Iterator[str]:
    while True:
        for low, high in SCRIPTS:
            yield "".join(_word(rng, low, high) for _ in range(rng.randrange(1, 8)))
        yield "".join(_word(rng, *rng.choice(SCRIPTS)) for _ in range(12))
        words = rng.choice(OWN).split(" ")
        rng.shuffle(words)
        yield rng.choice((" ", "  ", "\n", "\t ", " -")).join(words)


def _word(rng: random.Random, low: int, high: int) -> str:
    letters = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 9)))
    return letters + rng.choice((" ", " ", "", ". ", ", ", "7", "'s "))


def prove_tokenizer(tokenize: Callable[[list[str]], dict[str, np.ndarray]], tokens: Tokens) -> TokenizerProof:
    """Compare the tokens of `tokenize`, int64 [texts, tokens] by input name, in padded batches of `ROWS`.

    A text without any token has no answer: it may be refused, alone.
    """
    texts = proof_texts(named_tokens(tokens))
    different, first = 0, ""
    for start in range(0, len(texts), ROWS):
        batch = texts[start : start + ROWS]
        expected = _expected(tokens, batch)
        some = [row for row, tokens_of in enumerate(expected) if len(tokens_of["input_ids"])]
        got = tokenize([batch[row] for row in some])
        for place, row in enumerate(some):
            found = {name: got[name][place] for name in tokens.names}
            if not _same(found, expected[row], tokens.vocabulary):
                different += 1
                ids = [array[:12].tolist() for array in (found["input_ids"], expected[row]["input_ids"])]
                first = first or f"{batch[row][:60]!r} is {ids[0]} and not {ids[1]}"
    return TokenizerProof(len(texts), different, first)


def _same(got: Arrays, expected: Arrays, vocabulary: int) -> bool:
    """Whether a row begins with what is expected, is filled up with nothing that counts, and has no unknown token."""
    length = len(expected["input_ids"])
    same = all(np.array_equal(got[name][:length], array) for name, array in expected.items())
    return same and not got["attention_mask"][length:].any() and int(got["input_ids"].max()) < vocabulary


def _expected(tokens: Tokens, texts: list[str]) -> list[dict[str, np.ndarray]]:
    found = tokens.tokenizer(
        texts, truncation=tokens.limit is not None, max_length=tokens.limit, return_token_type_ids=tokens.typed,
        split_special_tokens=True,
    )  # fmt: skip
    return [{name: np.asarray(found[name][row], np.int64) for name in tokens.names} for row in range(len(texts))]
