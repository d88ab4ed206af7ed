"""Ratings by a seeded generator: people and things of a few tastes, and of each person a few ratings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

TASTES = 5
WORST, BEST = 1, 5
GAP = 0
"""What stands where nobody rated."""
ASKED = 0.2
"""Share of a held-out person's ratings that is asked for instead of shown."""
SEED = 20_150_518


@dataclass(frozen=True)
class Ratings:
    """A row a person, a column a thing: uint8 [people, things], WORST to BEST, `GAP` where there is no rating."""

    train: NDArray[np.uint8]
    shown: NDArray[np.uint8]
    """Of the people who are held out."""
    asked: NDArray[np.uint8]
    """Other ratings of the same people: what they say when asked."""
    name: str = "ratings"

    @cached_property
    def sha256(self) -> str:
        """Hash of every array."""
        return hashlib.sha256(b"".join(array.tobytes() for array in (self.train, self.shown, self.asked))).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest."""
        return {
            "train": len(self.train),
            "held_out": len(self.shown),
            "things": self.train.shape[1],
            "rated": round(float((self.train != GAP).mean()), 3),
            "asked": int((self.asked != GAP).sum()),
        }


def ratings(people: int = 2400, held_out: int = 600, things: int = 120) -> Ratings:
    """What they think of things, a matrix of low rank with an error, rounded; of which few is said, most of what is
    known widely."""
    random = np.random.default_rng(SEED)
    everybody = people + held_out
    of_people, of_things = random.standard_normal((everybody, TASTES)), random.standard_normal((things, TASTES))
    kindness, quality = 0.4 * random.standard_normal((everybody, 1)), 0.4 * random.standard_normal(things)
    error = 0.3 * random.standard_normal((everybody, things))
    thought = 3.2 + kindness + quality + 0.9 * (of_people @ of_things.T) / np.sqrt(TASTES) + error
    known = random.beta(1.2, 3, things)
    rated = random.random((everybody, things)) < known
    table = np.where(rated, np.clip(np.rint(thought), WORST, BEST), GAP).astype(np.uint8)
    asked = random.random((held_out, things)) < ASKED
    rest = table[people:]
    return Ratings(table[:people], np.where(asked, GAP, rest), np.where(asked, rest, GAP))
