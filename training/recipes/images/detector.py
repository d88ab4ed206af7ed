"""An anchor-free object detector: digits on a cluttered canvas, with their boxes, classes and scores.

    conch train detector
    conch train detector --epochs 30

Tian and others, FCOS: fully convolutional one-stage object detection, 2019. Every cell of a coarse map says whether it
lies in the middle of a digit, of which class, and how far away the digit's four sides are. Several cells find the same
digit; what overlaps a better one of its class is suppressed inside the graph, so that PyTorch and ONNX Runtime suppress
by the same operators and a client has nothing to do. An image has as many answers as any other, and a count of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.average_precision import mean_average_precision
from training.checkpoints.drawing import grid
from training.convolution import convolution
from training.data.augmentation import to_unit_range
from training.data.batches import batches
from training.data.canvases import Canvases, canvases
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor, Tolerance
from training.suppression import suppressed

EXAMPLES = 16
LARGEST_BATCH = 8
STRIDE = 4
"""Pixels between two cells."""
MIDDLE = 4.0
"""Pixels around a digit's middle within which a cell has to find it: four cells do."""
CANDIDATES, MOST = 32, 16
"""Cells that are looked at, the surest, and answers of one image."""
OVERLAP = 0.5
"""Share of their union from which two boxes of a class are of the same digit."""
LEAST = 0.3
"""Score from which an answer counts."""


class Detector(nn.Module):
    """The logits of each cell's classes, and the box that it sees; sides of an image are multiples of 4."""

    def __init__(self, classes: int, maps: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(1, maps, stride=2),
            convolution(maps, 2 * maps, stride=2),
            convolution(2 * maps, 4 * maps),
            convolution(4 * maps, 4 * maps, 5),
            convolution(4 * maps, 4 * maps, 5),
        )
        self.classes = nn.Conv2d(4 * maps, classes, 1)
        self.sides = nn.Conv2d(4 * maps, 4, 1)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -4.0)  # nearly all cells hold nothing (Lin and others, 2017)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Float32 [batch, 1, h, w] to logits [batch, cells, classes], boxes [batch, cells, 4] and middles [cells, 2].

        A box is left, top, right and bottom in pixels, a middle x and y.
        """
        found = self.body(images)
        y, x = (torch.arange(size, device=images.device) * STRIDE + STRIDE / 2 for size in found.shape[2:])
        middles = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2).flatten(0, 1)
        sides = functional.softplus(self.sides(found)).flatten(2).transpose(1, 2) * STRIDE
        boxes = torch.cat([middles - sides[..., :2], middles + sides[..., 2:]], 2)
        return self.classes(found).flatten(2).transpose(1, 2), boxes, middles


class DetectionEndpoint(nn.Module):
    """uint8 pixels of any size in, the best boxes with their scores and classes and the number of them out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, 1] to float32 [batch, 16, 4] (left, top, right, bottom), float32 [batch, 16],
        int64 [batch, 16] and int64 [batch, 1]: rows from the count on are zeros."""
        height, width = image.shape[1], image.shape[2]
        padded = functional.pad(to_unit_range(image), (0, -width % STRIDE, 0, -height % STRIDE), value=-1.0)
        logits, boxes, _ = self.network(padded)
        # A small image has fewer cells than candidates: cells that see nothing are put behind them.
        scores, classes = functional.pad(logits.sigmoid(), (0, 0, 0, CANDIDATES)).max(2)
        boxes = functional.pad(boxes, (0, 0, 0, CANDIDATES))
        scores, cells = scores.topk(CANDIDATES, 1)
        boxes, classes = boxes.gather(1, cells.unsqueeze(2).expand(-1, -1, 4)), classes.gather(1, cells)
        kept = (scores >= LEAST) & ~suppressed(boxes, classes, OVERLAP)
        # Those that are kept come first, in the order of their scores, which is the order they are in.
        order = torch.where(kept, 0, CANDIDATES).add(torch.arange(CANDIDATES, device=kept.device)).argsort(1)[:, :MOST]
        kept, scores, classes = kept.gather(1, order), scores.gather(1, order), classes.gather(1, order)
        boxes = boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
        count = kept.sum(1, keepdim=True)
        return boxes * kept.unsqueeze(2), scores * kept, classes * kept, count


class DetectorTrainee(Trainee):
    """Focal loss of the classes, generalised intersection over union of the boxes."""

    def __init__(self, network: Detector, recipe: DetectorRecipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, h, w, 1], boxes [batch, most, 4] and classes [batch, most], -1 for none."""
        images, boxes, classes = batch
        logits, answers, middles = self.network(to_unit_range(images))
        wanted, which = assigned(middles, boxes, classes, logits.shape[2])
        likely = logits.sigmoid()
        miss = torch.where(wanted > 0, 1 - likely, likely)
        entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        found = wanted.sum().clamp(min=1)
        class_loss = (miss**2 * entropy).sum() / found
        rows, cells = (which >= 0).nonzero(as_tuple=True)
        box_loss = (1 - generalised_iou(answers[rows, cells], boxes[rows, which[rows, cells]])).sum() / found
        self.log_mean({"class loss": class_loss, "box loss": box_loss})
        return class_loss + box_loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.AdamW(self.parameters(), self.recipe.learning_rate))


def assigned(
    middles: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor, kinds: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each cell has to say, float32 [batch, cells, kinds], and of which box [batch, cells], -1 for none.

    Args:
        middles: of the cells [cells, 2].
        boxes: float32 [batch, most, 4].
        classes: int64 [batch, most], -1 where there is no box.
        kinds: how many classes there are.
    """
    distance = (middles[:, None] - (boxes[:, None, :, :2] + boxes[:, None, :, 2:]) / 2).abs()
    nearest, which = distance.amax(3).where(classes[:, None] >= 0, torch.inf).min(2)
    which = which.where(nearest <= MIDDLE, -1)
    kind = classes.gather(1, which.clamp(min=0))
    wanted = functional.one_hot(kind.clamp(min=0), kinds).float() * (which >= 0).unsqueeze(2)
    return wanted, which


def generalised_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of boxes [n, 4] pair by pair, [n] from -1 to 1 (Rezatofighi and others, 2019)."""
    inner = (torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])).clamp(min=0).prod(1)
    outer = (torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])).prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - inner
    return inner / union - (outer - union) / outer


@dataclass(frozen=True)
class DetectorRecipe(Recipe):
    """Boxes, classes and scores of what is on an image."""

    data: str = "canvases"
    """canvases: digits on clutter, made by a seeded generator."""
    epochs: int = 12
    """Passes over the training split."""
    batch_size: int = 8
    """Canvases of one optimizer step."""
    learning_rate: float = 8e-3
    """Peak of the one-cycle schedule."""
    maps: int = 12
    """Feature maps of the first layer; the last ones have four times as many."""

    serves: ClassVar[tuple[str, ...]] = ("image -> boxes, scores, classes, count",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"canvases": {"mAP@0.5": 0.9}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"mAP@0.5": AllowedLoss(0.005)}

    def dataset(self) -> Canvases:
        """The canvases."""
        if self.data != "canvases":
            raise ConchError(f"--data {self.data}: no such data set with boxes; known is canvases")
        return canvases()

    def trainee(self, data: Canvases) -> DetectorTrainee:
        """The network with its loss and optimizer."""
        return DetectorTrainee(Detector(len(data.labels), self.maps), self)

    def loaders(self, data: Canvases) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, h, w, 1] with boxes [batch, most, 4] and classes [batch, most]."""
        scenes = data.train
        arrays = (scenes.images, scenes.boxes, scenes.classes)
        return batches(*arrays, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: DetectorTrainee, data: Canvases) -> list[Served]:
        """One endpoint: an image of any size to its digits."""
        side = data.held_out.images.shape[1]
        return [
            Served(
                name=self.name(),
                module=DetectionEndpoint(trained.network).eval(),
                inputs=(Tensor("image", "uint8", ("batch", "height", "width", 1)),),
                outputs=(
                    Tensor("boxes", "float32", ("batch", MOST, 4)),
                    Tensor("scores", "float32", ("batch", MOST)),
                    Tensor("classes", "int64", ("batch", MOST)),
                    Tensor("count", "int64", ("batch", 1)),
                ),
                examples={"image": data.held_out.images[:EXAMPLES]},
                class_labels={"classes": data.labels},
                calibration={"image": data.train.images[:64]},
                tolerance={"float32": Tolerance(1e-4, 1e-4, "boxes are in pixels, up to 64 of them")},
                largest_batch=LARGEST_BATCH,
                sizes={"height": (1, side), "width": (30, side)},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Canvases) -> list[Metric]:
        """Mean over the classes of the average precision; an answer is right whose box overlaps the truth by half."""
        found = predict({"image": data.held_out.images})
        return [Metric("mAP@0.5", mean_average_precision(found, data.held_out, len(data.labels)))]

    def samples(self, predict: Predict, data: Canvases, path: Path) -> None:
        """Canvases with the boxes and classes that were found."""
        images = data.held_out.images[:20]
        found = predict({"image": images})
        drawn = np.stack([draw(image, found, row) for row, image in enumerate(images)])
        grid(drawn, columns=10, scale=1).save(path)


def draw(image: NDArray[np.uint8], found: Mapping[str, NDArray[Any]], row: int, scale: int = 3) -> NDArray[np.uint8]:
    """The image [h, w, 1] larger and in colour, with the boxes of a row of the answers."""
    height, width = (side * scale for side in image.shape[:2])
    picture = Image.fromarray(image[..., 0]).resize((width, height)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for index in range(int(found["count"][row, 0])):
        left, top, right, bottom = found["boxes"][row, index] * scale
        pen.rectangle((left, top, right, bottom), outline=(255, 160, 0))
        pen.text((left + 2, top), str(found["classes"][row, index]), fill=(255, 160, 0))
    return np.asarray(picture)
