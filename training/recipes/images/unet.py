"""U-Net: a class for every pixel of an image of any size, here the digits on a cluttered canvas.

    conch train unet
    conch train unet --maps 16 --epochs 20

Ronneberger, Fischer and Brox, U-Net: convolutional networks for biomedical image segmentation, 2015. On the way down it
sees more of the image in less detail, on the way up it gets the detail back from the maps of the same size before. An
image whose sides are no multiples of 8 is padded inside the graph, and the answer cut to the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_rows
from training.convolution import convolution
from training.data.augmentation import to_unit_range
from training.data.batches import batches
from training.data.canvases import Canvases, canvases
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor, Tolerance

EXAMPLES = 16
LEVELS = 3
MULTIPLE = 2**LEVELS
LARGEST_BATCH = 8
COLOURS = np.vstack([np.zeros((1, 3)), np.array(colormaps["tab10"](range(10)))[:, :3] * 255]).astype(np.uint8)
"""Of the background and of ten classes."""


class UNet(nn.Module):
    """Logits [batch, classes, height, width] of images [batch, 1, height, width] in -1..1, multiples of 8."""

    def __init__(self, classes: int, maps: int) -> None:
        super().__init__()
        widths = [maps * 2**level for level in range(LEVELS + 1)]
        self.first = convolution(1, maps)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(convolution(low, high), convolution(high, high)) for low, high in pairs)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(high, low, 2, stride=2) for low, high in reversed(pairs))
        self.up = nn.ModuleList(convolution(2 * low, low) for low, _ in reversed(pairs))
        self.classify = nn.Conv2d(maps, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 1, height, width] to float32 [batch, classes, height, width]."""
        maps = [self.first(images)]
        for down in self.down:
            maps.append(down(functional.max_pool2d(maps[-1], 2)))
        found = maps.pop()
        for grow, up in zip(self.grow, self.up, strict=True):
            found = up(torch.cat([maps.pop(), grow(found)], 1))
        return self.classify(found)


class SegmentationEndpoint(nn.Module):
    """uint8 pixels of any size in, a class and its probabilities for each out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, 1] to uint8 [batch, height, width] and float32 [..., classes]."""
        height, width = image.shape[1], image.shape[2]
        padded = functional.pad(to_unit_range(image), (0, -width % MULTIPLE, 0, -height % MULTIPLE), value=-1.0)
        probabilities = self.network(padded)[:, :, :height, :width].softmax(1).permute(0, 2, 3, 1)
        return probabilities.argmax(3).to(torch.uint8), probabilities.contiguous()


class UNetTrainee(Trainee):
    """Cross-entropy of every pixel, AdamW under a one-cycle schedule."""

    def __init__(self, network: UNet, recipe: UNetRecipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, 1] and masks [batch, height, width]."""
        images, masks = batch
        loss = functional.cross_entropy(self.network(to_unit_range(images)), masks.long())
        self.log_mean({"train loss": loss})
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """The same on held-out canvases."""
        images, masks = batch
        loss = functional.cross_entropy(self.network(to_unit_range(images)), masks.long())
        self.log("held-out loss", loss, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.AdamW(self.parameters(), self.recipe.learning_rate))


def mean_iou(found: NDArray[np.uint8], masks: NDArray[np.uint8], classes: int) -> float:
    """Mean over the classes of intersection over union, each counted over all pixels of all images."""
    counts = np.bincount(masks.ravel().astype(np.int64) * classes + found.ravel(), minlength=classes**2)
    table = counts.reshape(classes, classes).astype(np.float64)
    both = np.diag(table)
    return float(np.mean(both / np.maximum(table.sum(0) + table.sum(1) - both, 1)))


@dataclass(frozen=True)
class UNetRecipe(Recipe):
    """A class for each pixel of an image of any size."""

    data: str = "canvases"
    """canvases: digits on clutter, made by a seeded generator."""
    epochs: int = 14
    """Passes over the training split."""
    batch_size: int = 8
    """Canvases of one optimizer step."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    maps: int = 12
    """Feature maps at full size; each level down has twice as many."""

    serves: ClassVar[tuple[str, ...]] = ("image -> classes, probabilities",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"canvases": {"mean IoU": 0.9}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"mean IoU": AllowedLoss(0.005)}

    def dataset(self) -> Canvases:
        """The canvases."""
        if self.data != "canvases":
            raise ConchError(f"--data {self.data}: no such data set with masks; known is canvases")
        return canvases()

    def trainee(self, data: Canvases) -> UNetTrainee:
        """The network with its loss and optimizer."""
        return UNetTrainee(UNet(1 + len(data.labels), self.maps), self)

    def loaders(self, data: Canvases) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """uint8 images [batch, height, width, 1] with masks [batch, height, width]."""
        return (
            batches(data.train.images, data.train.masks, size=self.batch_size, shuffle_seed=self.seed),
            batches(data.held_out.images, data.held_out.masks, size=60),
        )

    def served(self, trained: UNetTrainee, data: Canvases) -> list[Served]:
        """One endpoint: an image of any size to its classes."""
        labels = ("background", *data.labels)
        side = data.held_out.images.shape[1]
        return [
            Served(
                name=self.name(),
                module=SegmentationEndpoint(trained.network).eval(),
                inputs=(Tensor("image", "uint8", ("batch", "height", "width", 1)),),
                outputs=(
                    Tensor("classes", "uint8", ("batch", "height", "width")),
                    Tensor("probabilities", "float32", ("batch", "height", "width", len(labels))),
                ),
                examples={"image": data.held_out.images[:EXAMPLES]},
                calibration={"image": data.train.images[:64]},
                labels={"probabilities": labels},
                class_labels={"classes": labels},
                largest_batch=LARGEST_BATCH,
                sizes={"height": (1, side), "width": (30, side)},
                tolerance={"uint8": Tolerance(0, 0, "a class is right or wrong: its neighbour in number is no nearer")},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Canvases) -> list[Metric]:
        """Mean IoU of the classes with the background among them, and the share of pixels that are right."""
        found, masks = predict({"image": data.held_out.images})["classes"], data.held_out.masks
        return [
            Metric("mean IoU", mean_iou(found, masks, 1 + len(data.labels))),
            Metric("right pixels", np.mean(found == masks) * 100, "%"),
        ]

    def baseline(self, data: Canvases) -> list[Metric]:
        """Background everywhere."""
        masks = data.held_out.masks
        return [Metric("mean IoU", mean_iou(np.zeros_like(masks), masks, 1 + len(data.labels)))]

    def samples(self, predict: Predict, data: Canvases, path: Path) -> None:
        """Canvases, what is on them and what was found, a colour a class."""
        images, masks = data.held_out.images[:12], data.held_out.masks[:12]
        found = predict({"image": images})["classes"]
        grey = images.repeat(3, axis=3)
        draw_rows({"image": grey, "truth": COLOURS[masks], "found": COLOURS[found]}, path)
