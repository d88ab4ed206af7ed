"""Spike trains by a seeded generator: patterns whose spikes come a little early or late."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATTERNS, CHANNELS, MOMENTS = 5, 8, 60
TRAIN, HELD_OUT = 500, 200
RATE, JITTER, LOST = 0.12, 1.5, 0.05
"""Spikes a channel and moment, deviation of their times in moments, and the share that does not come."""
SEED = 20_021_101


@dataclass(frozen=True)
class SpikeTrains:
    """uint8 [n, moments, channels], 1 a spike, with int64 labels [n]."""

    name: str
    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    held_out: NDArray[np.uint8]
    held_out_labels: NDArray[np.int64]
    labels: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """Hash of every array."""
        digest = hashlib.sha256("\n".join((self.name, *self.labels)).encode())
        for array in (self.train, self.train_labels, self.held_out, self.held_out_labels):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Sizes for the manifest."""
        moments, channels = self.train.shape[1:]
        return {"train": len(self.train), "held_out": len(self.held_out), "moments": moments, "channels": channels}


def spike_trains() -> SpikeTrains:
    """Five random patterns on eight channels, each train one of them with its spikes jittered and some lost."""
    random = np.random.default_rng(SEED)
    patterns = random.random((PATTERNS, MOMENTS, CHANNELS)) < RATE
    labels = np.arange(TRAIN + HELD_OUT, dtype=np.int64) % PATTERNS
    trains = np.zeros((len(labels), MOMENTS, CHANNELS), np.uint8)
    for train, label in zip(trains, labels, strict=True):
        moments, channels = np.nonzero(patterns[label])
        moments = np.rint(moments + random.normal(0, JITTER, len(moments))).astype(int)
        comes = (random.random(len(moments)) >= LOST) & (moments >= 0) & (moments < MOMENTS)
        train[moments[comes], channels[comes]] = 1
    return SpikeTrains("spike-trains", trains[:TRAIN], labels[:TRAIN], trains[TRAIN:], labels[TRAIN:], tuple("ABCDE"))
