"""What the user asks of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conch.contracts.errors import ConchError
from export.pretrained.texts import Text, default_texts, read_labelled, read_texts

Pooling = Literal["mean", "cls", "last"]


@dataclass(frozen=True)
class Wanted:
    """The choices that decide what is served, and on what it is proven."""

    name: str
    """Of the served model."""
    largest_batch: int = 32
    texts: Path | None = None
    """Lines to prove on, instead of the kit's own."""
    labelled: Path | None = None
    """The same with a label each, which the accuracy is measured on."""
    tokenizer: Path | None = None
    """A folder with the tokenizer, where it does not lie beside the weights."""
    pictures: Path | None = None
    """A folder of pictures to prove on, instead of the kit's own."""
    pooling: Pooling | None = None
    """How token vectors become one, of embeddings."""
    normalized: bool = True
    """Whether embeddings have length 1."""

    def chosen_texts(self, labels: Sequence[str] = (), pairs: bool = False) -> tuple[tuple[Text, ...], tuple[int, ...]]:
        """The texts of the proof, and of those that have one the index of the right label.

        Raises:
            ConchError: a file is not what it has to be, or holds no pairs where the task is about them.
        """
        if self.labelled and not labels:
            raise ConchError("--labelled is for classification: this task has no labels")
        if self.labelled:
            texts, truths = read_labelled(self.labelled, labels)
        else:
            texts, truths = (read_texts(self.texts) if self.texts else default_texts(pairs)), ()
        if pairs and (alone := [text for text in texts if len(text) < 2]):
            raise ConchError(f"this task is about pairs, with a tab between the two: {alone[0][0][:60]!r} has none")
        return texts, truths

    @property
    def said_texts(self) -> str:
        """Where the texts are from, for the manifest."""
        file = self.labelled or self.texts
        return file.name if file else "the kit's own texts"
