"""Pictures of one to three digits, each with the sentence that says what is where, by a seeded generator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clients.preparation import Preparation
from training.attention import NOTHING
from training.data.images import digits

SIDE = 48
SMALLEST, LARGEST = 18, 22
"""Sides of a digit, in pixels."""
HELD_OUT = 500
TURNED = 12
"""Degrees by which a training digit is turned at most, so that there are more than the set has."""
NOISE = 8.0
SEED = 20_150_210
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = ("", *DIGITS, "a", "an", "above", "to", "the", "left", "right", "of", "and", "below")
"""The vocabulary; `NOTHING` is no word."""
MOST = 12
"""Words of the longest sentence."""


@dataclass(frozen=True)
class Scenes:
    """Pictures uint8 [n, SIDE, SIDE, 1] and sentences int64 [n, MOST], tokens into `words` with `NOTHING` behind."""

    name: str
    train: NDArray[np.uint8]
    train_sentences: NDArray[np.int64]
    held_out: NDArray[np.uint8]
    held_out_sentences: NDArray[np.int64]
    words: tuple[str, ...] = WORDS
    preparation: Preparation = field(default_factory=Preparation)

    @cached_property
    def sha256(self) -> str:
        """Hash of words, pictures and sentences."""
        digest = hashlib.sha256("\n".join((self.name, *self.words)).encode())
        for array in (self.train, self.train_sentences, self.held_out, self.held_out_sentences):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"train": len(self.train), "held_out": len(self.held_out), "words": len(self.words)}

    def sentence(self, tokens: NDArray[np.int64]) -> str:
        """What tokens [words] say, up to the end."""
        return " ".join(self.words[token] for token in tokens if token != NOTHING)


def scenes(count: int) -> Scenes:
    """Pictures of scikit-learn's digits, `count` to learn from and 500 of held-out digits, the same at each call."""
    source, random = digits(), np.random.default_rng(SEED)
    held_out = _scenes(HELD_OUT, source.held_out[..., 0], source.held_out_labels, 0, random)
    return Scenes("scenes", *_scenes(count, source.train[..., 0], source.train_labels, TURNED, random), *held_out)


def _scenes(
    count: int, pixels: NDArray[np.uint8], labels: NDArray[np.int64], turned: float, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pictures = np.zeros((count, SIDE, SIDE, 1), np.uint8)
    sentences = np.full((count, MOST), NOTHING, np.int64)
    for picture, sentence in zip(pictures, sentences, strict=True):
        chosen = random.integers(len(pixels), size=random.integers(1, 4))
        places, words = _layout([DIGITS[labels[which]] for which in chosen], random)
        sentence[: len(words)] = [WORDS.index(word) for word in words]
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        for which, (top, left) in zip(chosen, places, strict=True):
            side = int(random.integers(SMALLEST, LARGEST + 1))
            digit = Image.fromarray(pixels[which]).rotate(turned * random.uniform(-1, 1), Image.Resampling.BILINEAR)
            digit = digit.resize((side, side), Image.Resampling.BICUBIC)
            canvas[top : top + side, left : left + side] = np.asarray(digit)
        picture[..., 0] = np.clip(np.rint(canvas + random.normal(0, NOISE, canvas.shape)), 0, 255)
    return pictures, sentences


def _layout(names: list[str], random: np.random.Generator) -> tuple[list[tuple[int, int]], list[str]]:
    """The upper left corner of each digit, and the words that say how they lie.

    Two are a pair, one above the other or beside it; a third lies beside a pair that stands, above or below one that
    lies.
    """
    free = SIDE - LARGEST
    if len(names) == 1:
        top, left = (int(place) for place in random.integers(0, free + 1, 2))
        return [(top, left)], named(names[0])
    stands, before = bool(random.integers(2)), bool(random.integers(2))
    near, far = (int(random.integers(0, 3)) for _ in range(2)), (free - int(random.integers(0, 3)) for _ in range(2))
    along = [next(near), next(far)]
    if len(names) == 2:
        across = [int(np.clip(start, 0, free)) for start in random.integers(0, free + 1) + random.integers(-2, 3, 2)]
    else:
        side = next(far) if before else next(near)
        across = [int(np.clip(side + step, 0, free)) for step in random.integers(-1, 2, 2)]
        along.append(free // 2 + int(random.integers(-3, 4)))  # between them: else it would be a pair with one of them
        across.append(next(near) if before else next(far))
    places = list(zip(along, across, strict=True) if stands else zip(across, along, strict=True))
    relation = ["above"] if stands else ["to", "the", "left", "of"]
    words = [*named(names[0]), *relation, *named(names[1])]
    if len(names) == 3:
        where = ["to", "the", "left" if before else "right"] if stands else ["above" if before else "below"]
        words += ["and", *named(names[2]), *where]
    return places, words


def named(digit: str) -> list[str]:
    """With its article."""
    return ["an" if digit == "eight" else "a", digit]
