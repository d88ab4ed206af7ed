"""What image classifiers share: loss, augmentation, accuracy and the served graph. A recipe adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning import LightningModule
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_accuracy

from training.batches import batches
from training.image_recipe import ImageRecipe
from training.images import Images, spread
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

EXAMPLES = 128


def to_unit_range(image: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, channels] in 0..255 to float32 [batch, channels, height, width] in -1..1."""
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


class ClassifierEndpoint(nn.Module):
    """uint8 pixels in, class probabilities out: a client never normalises anything."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, classes] that sum to 1."""
        return functional.softmax(self.network(to_unit_range(image)), dim=1)


class ClassifierTrainee(LightningModule):
    """Cross-entropy on randomly shifted images, AdamW under a one-cycle schedule (Smith and Topin, 2018)."""

    def __init__(self, network: nn.Module, recipe: ClassifierRecipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, channels] and int64 labels [batch]."""
        images, labels = batch
        logits = self.network(random_shift(to_unit_range(images), self.recipe.shift))
        loss = functional.cross_entropy(logits, labels)
        self.log("train loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """Loss and accuracy on held-out images."""
        images, labels = batch
        logits = self.network(to_unit_range(images))
        self.log("held-out loss", functional.cross_entropy(logits, labels))
        self.log("held-out accuracy", (logits.argmax(1) == labels).float().mean() * 100, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(self.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=max(2, steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def random_shift(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Shift each image [batch, channels, height, width] by up to `pixels` either way, edges repeated."""
    if pixels == 0:
        return images
    batch, _, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * pixels + 1, (2, batch, 1, 1), device=images.device)
    rows = top + torch.arange(height, device=images.device).view(1, height, 1)
    columns = left + torch.arange(width, device=images.device).view(1, 1, width)
    item = torch.arange(batch, device=images.device).view(batch, 1, 1)
    return padded.permute(0, 2, 3, 1)[item, rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ClassifierRecipe(ImageRecipe):
    """A recipe whose network turns [batch, channels, height, width] in -1..1 into logits [batch, classes]."""

    weight_decay: float = 1e-2
    """AdamW's decoupled weight decay."""
    shift: int = 2
    """Training images are shifted by up to this many pixels."""

    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"accuracy": 98.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"accuracy": AllowedLoss(0.5)}

    @abstractmethod
    def network(self, data: Images) -> nn.Module:
        """The untrained network for images like those of `data`."""

    def trainee(self, data: Images) -> ClassifierTrainee:
        """The network with its loss and optimizer."""
        return ClassifierTrainee(self.network(data), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """uint8 images [batch, height, width, channels] with int64 labels [batch]."""
        return (
            batches(data.train, data.train_labels, size=self.batch_size, shuffle_seed=self.seed),
            batches(data.held_out, data.held_out_labels, size=256),
        )

    def served(self, trained: ClassifierTrainee, data: Images) -> list[Served]:
        """One endpoint: image to probabilities."""
        return [
            Served(
                name=self.name(),
                module=ClassifierEndpoint(trained.network).eval(),
                inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                outputs=(Tensor("probabilities", "float32", ("batch", len(data.labels))),),
                examples={"image": data.held_out[:EXAMPLES]},
                calibration={"image": spread(data.train, EXAMPLES)},
                labels={"probabilities": data.labels},
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Share of held-out images whose likeliest class is the true one."""
        probabilities = torch.from_numpy(predict({"image": data.held_out})["probabilities"])
        labels = torch.from_numpy(data.held_out_labels)
        accuracy = multiclass_accuracy(probabilities, labels, num_classes=len(data.labels), average="micro")
        return [Metric("accuracy", float(accuracy) * 100, "%")]
