"""What image classifiers share: loss, augmentation, accuracy and the served graph. A recipe adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_accuracy

from training.data.augmentation import Augmentation, Views, ViewsOf, to_unit_range
from training.data.batches import batches
from training.data.images import Images, spread
from training.image_recipe import ImageRecipe
from training.loop.trainee import Trainee, one_cycle
from training.score import AllowedLoss, Metric, Predict
from training.served import Served
from training.tensors import Tensor

EXAMPLES = 128
CROP_SHIFT = 2  # pixels; further off, crops of 28x28 lose what training never lost


class ClassifierEndpoint(nn.Module):
    """uint8 pixels in, class probabilities out: a client never normalises anything."""

    def __init__(self, network: nn.Module, views: Views) -> None:
        super().__init__()
        self.network = network
        self.views = views

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, classes] that sum to 1."""
        seen = self.views(to_unit_range(image))
        probabilities = functional.softmax(self.network(torch.cat(seen)), dim=1)
        return probabilities.unflatten(0, (len(seen), -1)).mean(0) if len(seen) > 1 else probabilities


class ClassifierTrainee(Trainee):
    """Cross-entropy on augmented images, AdamW under a one-cycle schedule (Smith and Topin, 2018)."""

    def __init__(self, network: nn.Module, recipe: ClassifierRecipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.augmentation = Augmentation(recipe.shift, recipe.mirror, recipe.intensity)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, channels] and int64 labels [batch]."""
        images, labels = batch
        logits = self.network(self.augmentation(images))
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.log_mean({"train loss": loss})
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
        optimizer = torch.optim.AdamW(
            self.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        return one_cycle(self, optimizer)


@dataclass(frozen=True)
class ImageClassifier(ImageRecipe):
    """A recipe that serves an image to the probabilities of its classes, however they are learnt."""

    serves: ClassVar[tuple[str, ...]] = ("image -> probabilities",)

    def endpoint(self, module: nn.Module, data: Images) -> Served:
        """What takes uint8 [batch, height, width, channels] and gives float32 [batch, classes]."""
        return Served(
            name=self.name(),
            module=module.eval(),
            inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
            outputs=(Tensor("probabilities", "float32", ("batch", len(data.labels))),),
            examples={"image": data.held_out[:EXAMPLES]},
            calibration={"image": spread(data.train, EXAMPLES)},
            labels={"probabilities": data.labels},
            preparation=data.preparation,
        )

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Share of held-out images whose likeliest class is the true one."""
        probabilities = torch.from_numpy(predict({"image": data.held_out})["probabilities"])
        labels = torch.from_numpy(data.held_out_labels)
        accuracy = multiclass_accuracy(probabilities, labels, num_classes=len(data.labels), average="micro")
        return [Metric("accuracy", float(accuracy) * 100, "%")]

    def baseline(self, data: Images) -> list[Metric]:
        """Share of the held-out images that are of the commonest class."""
        return [Metric("accuracy", np.bincount(data.held_out_labels).max() / len(data.held_out_labels) * 100, "%")]


@dataclass(frozen=True)
class ClassifierRecipe(ImageClassifier):
    """A recipe whose network turns [batch, channels, height, width] in -1..1 into logits [batch, classes]."""

    weight_decay: float = 1e-2
    """AdamW's decoupled weight decay."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes (Szegedy et al., 2015)."""
    shift: int = 2
    """Training images are padded by this many pixels and cropped at random."""
    mirror: bool = False
    """Turn every other training image left to right, where that leaves its class as it is."""
    intensity: float = 0.0
    """Contrast and brightness of training images vary by up to this share."""
    views: ViewsOf = "image"
    """What the served model averages over: the image alone, with its mirror image, with four crops two pixels off
    towards each corner, or with those and the mirror images of all."""

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
        return [self.endpoint(ClassifierEndpoint(trained.network, Views(self.views, CROP_SHIFT)), data)]
