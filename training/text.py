"""Text data sets: characters as token numbers, the end of the text held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ConchError

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Text:
    """A text as token numbers: int64 [characters], each an index into `vocabulary`."""

    name: str
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    vocabulary: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """Hash of vocabulary and tokens, so a changed split is another data set."""
        digest = hashlib.sha256("".join((self.name, *self.vocabulary)).encode())
        digest.update(self.train.data)
        digest.update(self.held_out.data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"train": len(self.train), "held_out": len(self.held_out), "vocabulary": len(self.vocabulary)}


def tokenize(name: str, text: str) -> Text:
    """Number the characters in the order of their code points; the last tenth of the text is held out."""
    code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    vocabulary, tokens = np.unique(code_points, return_inverse=True)
    split = round(len(tokens) * (1 - HELD_OUT_SHARE))
    tokens = tokens.astype(np.int64)
    return Text(name, tokens[:split], tokens[split:], tuple(map(chr, vocabulary)))


def manual() -> Text:
    """The English text of the Python manual that CPython carries for its `help()`, topics in alphabetical order."""
    from pydoc_data.topics import topics

    return tokenize("manual", "\n".join(topics[name] for name in sorted(topics)))


TEXT_DATA: dict[str, Callable[[], Text]] = {"manual": manual}


def load_text(name: str) -> Text:
    """The text called `name`.

    Raises:
        ConchError: no such data set; the message lists the known ones.
    """
    if name not in TEXT_DATA:
        raise ConchError(f"--data {name}: no such text data set; known are {', '.join(TEXT_DATA)}")
    return TEXT_DATA[name]()
