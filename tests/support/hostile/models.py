"""The models that are attacked: each is small, and has one thing that can be lied about."""

import random
from collections.abc import Callable
from pathlib import Path

from serving.repository.foreign import publish_file
from tests.support import graphs

TEXT = """
text (string[batch, n] s) => (string[batch, n] t)
{ t = Identity(s) }
"""
MODELS = {"affine": graphs.AFFINE, "lengths": graphs.LENGTHS, "text": TEXT}
BIG_DIMS = (2**31, 2**32, 2**60, 2**61, 2**61 + 1, 2**62, 2**63 - 1)
SHAPES: tuple[Callable[[random.Random], list[int]], ...] = (
    lambda rng: [1, rng.choice(BIG_DIMS)],
    lambda rng: [rng.choice(BIG_DIMS), 1],
    lambda rng: [0, rng.choice(BIG_DIMS)],
    lambda rng: [1, -rng.choice((1, 2, 2**31, 2**63))],
    lambda rng: [2**31, 2**30],
    lambda rng: [1] * rng.choice((0, 1, 3, 40, 2000)),
    lambda rng: [1, 1000],
)
"""Of `lengths`, whose second axis is open."""


def publish_all(folder: Path) -> Path:
    """The repository with all of them."""
    for name, graph in MODELS.items():
        publish_file(graphs.write(graph, folder / f"{name}.onnx"), name, folder / "models")
    return folder / "models"
