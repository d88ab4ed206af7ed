"""What the gate says of a network in int8, in an artifacts folder of its own, so that none is published."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from export.precision.gate import PrecisionRefused, Try
from export.precision.order import Order
from export.precision.recipe_variant import export_variant
from export.precision.target import this_machine
from training.checkpoints.checkpoint import load_checkpoint


@dataclass(frozen=True)
class Int8:
    """What came of `conch export NAME --precision int8`."""

    published: bool
    reason: str = ""
    """Why not, if it was not."""
    method: str = ""
    kept: int = 0
    """Layers that stayed in fp32, of `layers`."""
    layers: int = 0
    size_ratio: float | None = None
    """Of the fp32 file's bytes."""
    speedup: float | None = None
    """fp32's time over int8's, largest batch, one thread."""
    score: float | None = None
    """The first metric of the recipe's score."""


def try_int8(name: str) -> Int8:
    """Export the trained network in int8 as a user would, and forget the file."""
    checkpoints = (artifacts_folder() / "checkpoints").resolve()
    with tempfile.TemporaryDirectory(prefix="conch-int8-") as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "checkpoints").symlink_to(checkpoints)
        patch.setenv("CONCH_ARTIFACTS", folder)
        try:
            variant = export_variant(load_checkpoint(name), Order("int8", this_machine()))
        except PrecisionRefused as refused:
            return _of(nearest(refused.tries), published=False, reason=_sentence(refused, name))
        except ConchError as refused:
            return Int8(published=False, reason=_sentence(refused, name))
    return _of(variant.chosen, published=True)


def nearest(tries: Sequence[Try]) -> Try:
    """The fastest that passed; else the one that failed in least."""
    return min(tries, key=lambda one: (len(one.failures), -one.speedup))


def _of(one: Try, published: bool, reason: str = "") -> Int8:
    measured = one.speedup > 0
    return Int8(
        published, reason, one.method, len(one.kept), one.layers, round(one.size_ratio, 3) if one.size else None,
        round(one.speedup, 2) if measured else None, one.score[0].value if one.score else None,
    )  # fmt: skip


def _sentence(error: ConchError, name: str) -> str:
    """The reason alone: without the name before it and without what to do next."""
    said = str(error).removeprefix(f"{name}: ").removeprefix("nothing was published, ")
    return said.split("; serve fp32")[0].split(", its score has")[0]
