"""An autoencoder whose code has two numbers, so that it can be graphed: a map of the images.

    conch train embedding
    conch train embedding --data fashion-mnist

Hinton and Salakhutdinov, Reducing the dimensionality of data with neural networks, 2006. Nobody tells it the classes;
the picture of its codes has their colours, and they lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from training.checkpoints.drawing import draw_scatter
from training.coding import CodingRecipe
from training.data.images import Images
from training.recipe import Predict


@dataclass(frozen=True)
class Embedding(CodingRecipe):
    """A map of images: codes of two numbers."""

    epochs: int = 40
    """Passes over the training split."""
    code: int = 2
    """Numbers of a code; the map shows the first two."""

    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"epochs": 20, "batch_size": 128} for name in ("mnist", "fashion-mnist")
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"PSNR over PCA": 1.0}}

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """The codes of the held-out images, in the colours of their classes."""
        draw_scatter(predict({"image": data.held_out})["code"][:, :2], data.held_out_labels, data.labels, path)
