"""Tables of numbers with a target a row: the ones that scikit-learn carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conch.contracts.errors import ConchError

HELD_OUT = 5
"""Every so manieth row is held out."""


@dataclass(frozen=True)
class Features:
    """Rows of numbers float32 [n, features], each with a target float32 [n]."""

    name: str
    train: NDArray[np.float32]
    train_targets: NDArray[np.float32]
    held_out: NDArray[np.float32]
    held_out_targets: NDArray[np.float32]
    names: tuple[str, ...]
    """Of the features."""
    labels: tuple[str, ...] = ()
    """What targets 0, 1, ... mean; none where the target is a quantity."""

    @cached_property
    def sha256(self) -> str:
        """Hash of names and arrays, so that a changed split is another data set."""
        digest = hashlib.sha256("\n".join((self.name, *self.names, *self.labels)).encode())
        for array in (self.train, self.train_targets, self.held_out, self.held_out_targets):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {"train": len(self.train), "held_out": len(self.held_out), "features": len(self.names)}


def load_features(data: str) -> Features:
    """The table called `data`.

    breast-cancer: 569 tumours by 30 measures of their nuclei, malignant or benign (Wolberg and others, 1995).
    diabetes: 442 patients by 10 measures, unscaled, and how the disease has gone on after a year (Efron and others,
    2004).

    Raises:
        ConchError: there is none of that name.
    """
    from sklearn.datasets import load_breast_cancer, load_diabetes

    labels: tuple[str, ...]

    if data == "breast-cancer":
        bunch, labels = load_breast_cancer(), ("malignant", "benign")
    elif data == "diabetes":
        bunch, labels = load_diabetes(scaled=False), ()
    else:
        raise ConchError(f"--data {data}: no such table; known are breast-cancer and diabetes")
    rows, targets = bunch.data.astype(np.float32), bunch.target.astype(np.float32)
    held_out = np.arange(len(rows)) % HELD_OUT == HELD_OUT - 1
    names = tuple(map(str, bunch.feature_names))
    return Features(data, rows[~held_out], targets[~held_out], rows[held_out], targets[held_out], names, labels)
