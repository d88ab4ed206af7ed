"""The generator: are all classes there, are they sure, how far from real images, and are they copies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.training.headline.frechet import features, frechet_distance
from tests.bench.training.headline.judgement import Judgement, Table
from training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from training.checkpoints.drawing import draw_rows, grid
from training.data.images import Images
from training.predict import torch_predict
from training.recipe import Metric
from training.recipes.gan import GAN, latents

SAMPLES = 10_000
SEEN, SHOWN, NEIGHBOURS = 100, 12, 3
MEASURED = 1_000
"""Samples and held-out images whose nearest training image is looked for."""
HALVES_SEED = 2017

Pixels = NDArray[np.uint8]


def judge_generator(checkpoint: Checkpoint, folder: Path, count: int = SAMPLES) -> Judgement:
    """Judge `count` samples of the served generator by the classifier that the recipe names."""
    recipe, data = checkpoint.recipe, checkpoint.data
    assert isinstance(recipe, GAN)
    assert isinstance(data, Images)
    judge = load_checkpoint(recipe.judge)
    samples = torch_predict(recipe.served(checkpoint.trained, data)[0])({"latent": latents(count, recipe.latent)})  # type: ignore[arg-type]
    images: Pixels = samples["image"]
    probabilities = torch_predict(judge.recipe.served(judge.trained, judge.data)[0])({"image": images})["probabilities"]
    answers, sure = probabilities.argmax(1), probabilities.max(1)
    shares = np.bincount(answers, minlength=len(data.labels)) / count * 100
    distances = frechet_table(judge.trained, images, data)
    copies = nearest_training_images(images, data)
    grid(images[:SEEN], columns=20).save(folder / "samples.png")
    draw_rows(copies.rows(images, data.train), folder / "neighbours.png")
    return Judgement(
        metrics=(
            Metric("rarest class", float(shares.min()), "%"),
            Metric("commonest class", float(shares.max()), "%", higher_is_better=False),
            Metric("mean top probability", float(sure.mean())),
            Metric("Frechet distance", distances.of_samples, higher_is_better=False),
            Metric("Frechet distance of two halves of real data", distances.of_halves, higher_is_better=False),
        ),
        how=(
            f"{count:,} samples of the served generator from latents of a fixed seed, none left out. What they show is "
            f"told by the checkpoint of `{recipe.judge}` trained on {data.name} (weights "
            f"`{judge.manifest['sha256']['weights'][:12]}`). The Frechet distance (Heusel et al., 2017) is taken in "
            f"that network's last hidden layer, {distances.size} features, not in Inception's: compare it with nothing "
            f"but the other rows, between two sets of {distances.count:,} images each, for it shrinks with "
            "their number. The judge has seen the training images, not the held-out ones."
        ),
        tables=(_class_table(data, answers, shares, sure), distances.table(), copies.table()),
        pictures={
            "samples.png": f"The first {len(images[:SEEN])} of {count:,} samples",
            "neighbours.png": f"The first {SHOWN} samples, and below each the nearest of all {len(data.train):,} "
            "training images by L2 distance of the pixels",
        },
    )  # fmt: skip


@dataclass(frozen=True)
class Distances:
    """Frechet distances between sets of `count` images each, in `size` features."""

    rows: tuple[tuple[str, str, float], ...]
    count: int
    size: int

    @property
    def of_samples(self) -> float:
        """Between the samples and one half of the training images."""
        return self.rows[0][2]

    @property
    def of_halves(self) -> float:
        """Between two halves of the training images."""
        return self.rows[1][2]

    def table(self) -> Table:
        """For the page."""
        rows = tuple((one, other, f"{distance:.2f}") for one, other, distance in self.rows)
        return Table("Frechet distance", ("", "against", "distance"), rows)


def frechet_table(judge: Any, samples: Pixels, data: Images) -> Distances:
    """Samples against real images beside real images against real ones, all sets of one size."""
    count = min(len(samples), len(data.train) // 2, len(data.held_out))
    order = np.random.default_rng(HALVES_SEED).permutation(len(data.train))
    first, second = (features(judge, data.train[part]) for part in (order[:count], order[count : 2 * count]))
    held_out, made = features(judge, data.held_out[:count]), features(judge, samples[:count])
    return Distances(
        (
            ("samples", "training images", frechet_distance(made, first)),
            ("other training images", "training images", frechet_distance(second, first)),
            ("samples", "held-out images", frechet_distance(made, held_out)),
            ("training images", "held-out images", frechet_distance(first, held_out)),
        ),
        count,
        made.shape[1],
    )


@dataclass(frozen=True)
class Copies:
    """How near samples and held-out images come to the training images."""

    nearest: NDArray[np.intp]
    """Of the first samples: training images [shown, neighbours], nearest first."""
    of_samples: NDArray[np.float64]
    """L2 distances to the nearest training image, pixels in 0..1."""
    of_held_out: NDArray[np.float64]

    def rows(self, samples: Pixels, train: Pixels) -> dict[str, Pixels]:
        """Samples above their neighbours, for drawing."""
        names = ("nearest", "2nd nearest", "3rd nearest")
        return {"sample": samples[: len(self.nearest)]} | {
            name: train[self.nearest[:, place]] for place, name in enumerate(names[: self.nearest.shape[1]])
        }

    def table(self) -> Table:
        """Quantiles for the page."""
        rows = tuple(
            (name, f"{len(distances):,}", *(f"{value:.2f}" for value in np.percentile(distances, (0, 10, 50))))
            for name, distances in (("samples", self.of_samples), ("held-out images", self.of_held_out))
        )
        header = ("", "images", "smallest", "10th percentile", "median")
        return Table("L2 distance to the nearest training image (pixels in 0..1; a copy would be at 0)", header, rows)


def nearest_training_images(samples: Pixels, data: Images) -> Copies:
    """Distances of the first samples and held-out images to all training images."""
    distances = distances_to(data.train, samples[:MEASURED])
    nearest = np.argsort(distances[:SHOWN], axis=1)[:, :NEIGHBOURS]
    return Copies(nearest, distances.min(1), distances_to(data.train, data.held_out[:MEASURED]).min(1))


def distances_to(train: Pixels, images: Pixels) -> NDArray[np.float32]:
    """L2 distances float32 [images, train] of uint8 images, pixels in 0..1."""
    rows, columns = (array.reshape(len(array), -1).astype(np.float32) / 255 for array in (images, train))
    squares = np.square(rows).sum(1)[:, np.newaxis] + np.square(columns).sum(1) - 2 * rows @ columns.T
    return np.sqrt(np.maximum(squares, 0))


def _class_table(
    data: Images, answers: NDArray[np.intp], shares: NDArray[np.float64], sure: NDArray[np.float32]
) -> Table:
    certainty = [f"{sure[answers == index].mean():.3f}" if shares[index] else "-" for index in range(len(shares))]
    rows = (
        ("share, %", *(f"{share:.1f}" for share in shares)),
        ("mean top probability", *certainty),
    )
    return Table("Samples by class", ("", *data.labels), rows)
