"""Texts to prove a model on: the user's, or some of many lengths, moods and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

from conch.contracts.errors import ConchError

OWN = (
    "I loved every minute of this film, and so did my children.",
    "The food was cold, the waiter was rude, and we will not come back.",
    "It is all right, nothing special.",
    "Terrible.",
    "Best purchase I have made in years! Thank you so much.",
    "The battery died after two days and nobody answers my letters.",
    "Parliament votes tomorrow on the budget for schools and hospitals.",
    "Shares of the airline fell by 12 percent after it cut its forecast for the third quarter.",
    "Ada Lovelace was born in London in 1815 and worked with Charles Babbage.",
    "The committee met in Geneva on 3 March; Dr. Okafor of the University of Lagos was elected chair.",
    "Where is the nearest pharmacy that is open on a Sunday?",
    "How do I reset my password?",
    "Add two eggs, 200 g of flour and a pinch of salt, and stir until smooth.",
    "Chelsea beat Barcelona 2-1 in the last minute of a nervous match.",
    "Scientists found water ice in craters near the pole of the moon.",
    "def add(a, b): return a + b  # what does this function do?",
    "Der Zug nach Hamburg hat leider wieder vierzig Minuten Verspätung.",
    "Ce restaurant est une merveille, le service est rapide et souriant.",
    "No me gustó nada el final de la novela.",
    "Погода сегодня прекрасная, пойдём гулять в парк.",
    "この映画はとても面白かったです。",
    "这家酒店的房间又小又吵，不推荐。",
    "الخدمة ممتازة والطعام لذيذ جدا",
    "खाना बहुत स्वादिष्ट था और सेवा भी अच्छी थी।",
    "Great 👍👍 would buy again 😊",
    "ok",
    "WHY IS THIS STILL NOT FIXED?!",
    "The quick brown fox jumps over the lazy dog.",
)
"""Short texts written for this purpose."""

QUESTIONS = (
    ("Where was Ada Lovelace born?", OWN[8]),
    ("Who was elected chair?", OWN[9]),
    ("How much did the shares fall?", OWN[7]),
    ("How much flour is needed?", OWN[12]),
    ("Who won the match?", OWN[13]),
    ("What did scientists find?", OWN[14]),
    ("When is the vote?", OWN[6]),
    ("What does the function return?", OWN[15]),
)
"""Questions with the texts that answer them."""


Text = tuple[str, ...]
"""One text, or a pair of two that belong together."""


def default_texts(pairs: bool = False) -> tuple[Text, ...]:
    """Short texts, and paragraphs of the Python manual that came with the interpreter; or questions with what may
    answer them, rightly and wrongly."""
    if pairs:
        wrong = [
            (question, QUESTIONS[(place + 3) % len(QUESTIONS)][1]) for place, (question, _) in enumerate(QUESTIONS)
        ]
        return (*QUESTIONS, *wrong)
    paragraphs = [
        " ".join(part.split())
        for topic in sorted(topics)
        for part in topics[topic].split("\n\n")[2:4]
        if len(part) > 80
    ]
    return tuple((text,) for text in (*OWN, *paragraphs[::20][:8]))


def long_text() -> str:
    """One of many thousand words, to be cut where a model ends."""
    return " ".join(" ".join(topics[topic].split()) for topic in sorted(topics)[:12])


def read_texts(file: Path) -> tuple[Text, ...]:
    """A text a line, UTF-8, or a pair with a tab between; empty lines are left out.

    Raises:
        ConchError: it cannot be read, or there are fewer than two.
    """
    lines = _lines(file)
    if len(set(lines)) < 2:
        raise ConchError(f"{file} has {len(lines)} texts; two different ones are the least, thirty show something")
    return tuple(tuple(line.split("\t", 1)) for line in lines)


def read_labelled(file: Path, labels: Sequence[str]) -> tuple[tuple[Text, ...], tuple[int, ...]]:
    """Texts and the indices of their labels, from lines of `LABEL<tab>TEXT`; a pair has a second tab.

    Args:
        file: with a label or its number before each text.
        labels: of the model, in their order.

    Raises:
        ConchError: a line is of another form, or its label is none of the model's.
    """
    texts, truths = [], []
    for number, line in enumerate(_lines(file), start=1):
        label, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise ConchError(f"{file}, text {number}: a line must be LABEL, a tab and the text")
        if label in labels:
            truths.append(list(labels).index(label))
        elif label.isdecimal() and int(label) < len(labels):
            truths.append(int(label))
        else:
            raise ConchError(f"{file}, text {number}: label {label!r} is none of the model's: {', '.join(labels)}")
        texts.append(tuple(text.split("\t", 1)))
    return tuple(texts), tuple(truths)


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConchError(f"{file} cannot be read as lines of UTF-8: {error}") from error
