"""Dates and numbers as people write them, with the same in figures, by a seeded generator."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.attention import NOTHING

SEED = 20_140_901
HELD_OUT = 1_000
HELD_OUT_SHARE = 0.1
"""Of all days and of all numbers: none of these is learnt from, in whatever words."""
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
NUMBERS = 10_000
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip


@dataclass(frozen=True)
class Phrases:
    """Texts and what they mean, as rows of tokens with `NOTHING` behind the end; a token is an index into `vocabulary`.

    Int64 [n, characters of the longest].
    """

    name: str
    train: NDArray[np.int64]
    train_answers: NDArray[np.int64]
    held_out: NDArray[np.int64]
    held_out_answers: NDArray[np.int64]
    vocabulary: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """Hash of vocabulary and tokens."""
        digest = hashlib.sha256("".join((self.name, *self.vocabulary)).encode())
        for array in (self.train, self.train_answers, self.held_out, self.held_out_answers):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"train": len(self.train), "held_out": len(self.held_out), "vocabulary": len(self.vocabulary)}

    def text(self, tokens: NDArray[np.int64]) -> str:
        """What tokens [characters] stand for, up to the end."""
        return "".join(self.vocabulary[token] for token in tokens if token != NOTHING)


def phrases(count: int) -> Phrases:
    """Two dates to a number: `count` to learn from, and 1,000 of days and numbers that none of them is of."""
    random = np.random.default_rng(SEED)
    days = [FIRST + datetime.timedelta(int(day)) for day in random.permutation((LAST - FIRST).days + 1)]
    numbers = [int(number) for number in random.permutation(NUMBERS)]
    held_out = _pairs(HELD_OUT, _share(days, True), _share(numbers, True), random)
    train = _pairs(count, _share(days, False), _share(numbers, False), random)
    characters = sorted({character for pair in (*train, *held_out) for text in pair for character in text})
    vocabulary = ("\0", *characters)  # NOTHING is none of the characters
    known = {character: token for token, character in enumerate(vocabulary)}
    longest = [max(len(pair[side]) for pair in (*train, *held_out)) for side in (0, 1)]

    def rows(pairs: list[tuple[str, str]], side: int) -> NDArray[np.int64]:
        return _rows([pair[side] for pair in pairs], known, longest[side])

    return Phrases("phrases", rows(train, 0), rows(train, 1), rows(held_out, 0), rows(held_out, 1), vocabulary)


def _share(values: list[Any], held_out: bool) -> list[Any]:
    cut = round(len(values) * HELD_OUT_SHARE)
    return values[:cut] if held_out else values[cut:]


def _pairs(
    count: int, days: list[datetime.date], numbers: list[int], random: np.random.Generator
) -> list[tuple[str, str]]:
    made = []
    for row in range(count):
        if row % 3 == 2:
            number = numbers[random.integers(len(numbers))]
            made.append((in_words(number, bool(random.integers(2))), str(number)))
        else:
            day = days[random.integers(len(days))]
            made.append((written(day, random), day.isoformat()))
    return made


def _rows(texts: list[str], known: dict[str, int], longest: int) -> NDArray[np.int64]:
    rows = np.full((len(texts), longest), NOTHING, np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = [known[character] for character in text]
    return rows


def in_words(number: int, joined: bool) -> str:
    """A number below 10,000, as "two thousand and forty-one", or without the "and"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    rest = number % size
    text = f"{in_words(number // size, joined)} {name}"
    if not rest:
        return text
    return f"{text}{' and ' if joined and rest < 100 else ' '}{in_words(rest, joined)}"


def written(day: datetime.date, random: np.random.Generator) -> str:
    """A day in one of nine ways, sometimes with its weekday before it or all in small letters."""
    month, number = f"{day:%B}", day.day
    ordinal = f"{number}{'th' if 10 < number < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
    ways = (
        f"{number} {month} {day.year}", f"{ordinal} {month} {day.year}", f"the {ordinal} of {month}, {day.year}",
        f"{month} {number}, {day.year}", f"{month} {ordinal}, {day.year}", f"{number} {month[:3]} {day.year}",
        f"{number}.{day.month}.{day.year}", f"{day.year}/{day.month:02}/{number:02}",
        f"{month[:3]} {number} {day.year}",
    )  # fmt: skip
    text = ways[random.integers(len(ways))]
    if random.random() < 0.2:
        text = f"{day:%A}, {text}"
    return text.lower() if random.random() < 0.2 else text
