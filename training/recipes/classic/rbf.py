"""A radial basis function network: hidden units that answer near their centre, and a readout by one solve.

    conch train rbf
    conch train rbf --centres 400
    conch train rbf --data fashion-mnist

Broomhead and Lowe, Multivariable functional interpolation and adaptive networks, 1988; the centres are the means that
k-means finds among the training images (Moody and Darken, Fast learning in networks of locally-tuned processing units,
1989). Where an image is far from all centres no unit answers: the network knows that it has seen nothing like it, which
networks of weighted sums do not. It serves that, too, as the greatest answer of its units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from training.checkpoints.drawing import draw_rows
from training.data.images import Images
from training.least_squares import ReadoutEndpoint, ReadoutTrainee, SolvedClassifier
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

SHUFFLE_SEED = 19_880_301


class RadialBasis(nn.Module):
    """exp(-|x - centre|^2 / 2 width^2) for each of the centres [centres, pixels] of images in 0..1."""

    width: torch.Tensor

    def __init__(self, centres: NDArray[np.float32], share: float) -> None:
        super().__init__()
        self.share = share
        self.centres = nn.Parameter(torch.from_numpy(centres), requires_grad=False)
        self.register_buffer("width", torch.ones(()))
        self.set_width()

    def set_width(self) -> None:
        """A share of the mean distance between a centre and the nearest other one."""
        distances = torch.cdist(self.centres, self.centres)
        self.width.copy_(self.share * distances.fill_diagonal_(torch.inf).amin(1).mean())

    def squares(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to squared distances float32 [batch, centres]."""
        pixels = images.flatten(1).float() / 255
        # |x - c|^2 = x^2 - 2xc + c^2: one product of matrices instead of an array of all differences.
        squares = pixels.square().sum(1, keepdim=True) - 2 * pixels @ self.centres.T + self.centres.square().sum(1)
        return squares.clamp(min=0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, centres] in 0..1."""
        return (-self.squares(images) / (2 * self.width.square())).exp()


class RadialBasisTrainee(ReadoutTrainee):
    """Lloyd's iterations, one an epoch; the last epoch leaves the centres and finds the readout."""

    features: RadialBasis

    def __init__(self, features: RadialBasis, classes: int, ridge: float) -> None:
        super().__init__(features, len(features.centres), classes, ridge)
        self.totals, self.counts = torch.zeros(0), torch.zeros(0)

    @property
    def last(self) -> bool:
        """Whether this epoch finds the readout."""
        return self.current_epoch + 1 == self.trainer.max_epochs

    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Add images uint8 [batch, height, width, channels] to the sums of their centres, or to the readout's."""
        images, _ = batch
        if self.last:
            super().learn(batch)
        elif not len(self.totals):
            self.totals = torch.zeros_like(self.features.centres)
            self.counts = self.totals.new_zeros(len(self.totals), 1)
        squares, nearest = self.features.squares(images).min(1)
        if not self.last:
            self.totals.index_add_(0, nearest, images.flatten(1).float() / 255)
            self.counts.index_add_(0, nearest, torch.ones_like(squares).unsqueeze(1))
        return {"squared distance": squares.mean()}

    def conclude(self) -> dict[str, torch.Tensor]:
        """Move each centre to the mean of its images, or solve."""
        if self.last:
            super().conclude()
        else:
            used = self.counts > 0  # a centre without images stays
            self.features.centres.copy_(
                torch.where(used, self.totals / self.counts.clamp(min=1), self.features.centres)
            )
            self.features.set_width()
            self.totals, self.counts = torch.zeros(0), torch.zeros(0)
        return {"width": self.features.width}


class RadialBasisEndpoint(ReadoutEndpoint):
    """Class probabilities, and how near the nearest centre is."""

    def forward(self, image: torch.Tensor) -> Any:
        """uint8 [batch, height, width, channels] to float32 [batch, classes] and [batch, 1], 1 at a centre."""
        return super().forward(image), self.features(image).amax(1, keepdim=True)


def shuffled_pixels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each image with its pixels in a random order: as bright, and like nothing that was learnt."""
    flat = images.reshape(len(images), -1)
    return np.random.default_rng(SHUFFLE_SEED).permuted(flat, axis=1).reshape(images.shape)


@dataclass(frozen=True)
class RadialBasisNetwork(SolvedClassifier):
    """Units with centres, and a solved readout; it knows what it has never seen."""

    centres: int = 300
    """Hidden units."""
    width: float = 1.0
    """Of a unit, in mean distances between a centre and the nearest other one."""
    ridge: float = 1e-3
    """Weight of the readout's squares beside the squared error."""

    epochs: int = 12
    """Iterations of k-means, and one more for the readout."""

    learns_by: ClassVar[str] = "k-means and least squares"
    serves: ClassVar[tuple[str, ...]] = ("image -> probabilities, nearness",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"accuracy": 97.0, "strangers told": 99.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"accuracy": AllowedLoss(0.5)}

    def features(self, data: Images) -> tuple[RadialBasis, int]:
        """Units at training images chosen at random, from where k-means moves them."""
        chosen = np.random.default_rng(self.seed).permutation(len(data.train))[: self.centres]
        pixels = data.train[chosen].reshape(len(chosen), -1).astype(np.float32) / 255
        return RadialBasis(pixels, self.width), len(chosen)

    def trainee(self, data: Images) -> RadialBasisTrainee:
        """The units, with an empty readout."""
        return RadialBasisTrainee(self.features(data)[0], len(data.labels), self.ridge)

    def served(self, trained: ReadoutTrainee, data: Images) -> list[Served]:
        """One endpoint: image to probabilities and nearness."""
        served = self.endpoint(RadialBasisEndpoint(trained), data)
        return [replace(served, outputs=(*served.outputs, Tensor("nearness", "float32", ("batch", 1))))]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Accuracy, and how surely held-out images are nearer than the same with their pixels shuffled.

        The second is the area under the curve of true against false alarms: 50 % is chance.
        """
        known = predict({"image": data.held_out})["nearness"][:, 0]
        strange = predict({"image": shuffled_pixels(data.held_out)})["nearness"][:, 0]
        told = roc_auc_score(np.repeat((1, 0), (len(known), len(strange))), np.concatenate([known, strange]))
        return [*super().score(predict, data), Metric("strangers told", told * 100, "%")]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """Held-out images from the nearest to the farthest from all centres."""
        order = np.argsort(-predict({"image": data.held_out})["nearness"][:, 0])
        draw_rows({"nearest": data.held_out[order[:12]], "farthest": data.held_out[order[-12:]]}, path)
