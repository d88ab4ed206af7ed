"""Text data sets: characters as token numbers, the end of the text held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conch.contracts.errors import ConchError
from training.data.public_data import data_folder, shakespeare

HELD_OUT_SHARE = 0.1
# The score's windows are 256 long and the served examples 64 of 64, all of them held out.
SHORTEST_TEXT = 50_000


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


def load_text(data: str, data_dir: str = "") -> Text:
    """The text called `data`, or the one in the file of that path.

    Raises:
        ConchError: no such text (the known ones are listed), or it cannot be had or read.
    """
    if data == "manual":
        return manual()
    if data == "shakespeare":
        return tokenize("shakespeare", shakespeare(data_folder(data_dir)))
    path = Path(data)
    if not path.is_file():
        raise ConchError(
            f"--data {data}: no such text data set; known are manual, shakespeare, and the path of a UTF-8 text file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConchError(f"{path} cannot be read as UTF-8 text: {error}") from error
    if len(text) < SHORTEST_TEXT:
        raise ConchError(f"{path} has {len(text)} characters; a text to learn from needs at least {SHORTEST_TEXT:,}")
    return tokenize(path.name, text)
