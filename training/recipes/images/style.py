"""Fast style transfer: any photograph painted in the manner of one picture, in a single pass.

    conch train style
    conch train style --style painting.jpg --beta 20

Johnson, Alahi and Fei-Fei, Perceptual losses for real-time style transfer and super-resolution, 2016. The loss is that
of Gatys, Ecker and Bethge, A neural algorithm of artistic style, 2015: E_total = alpha E_content + beta E_style, where
a network that learnt to tell digits apart (conch train vgg, before this) sees the content in its maps and the style in
their Gram matrices, which say what occurs together and not where. Instance normalisation is that of Ulyanov, Vedaldi
and Lempitsky, 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.drawing import draw_rows
from training.checkpoints.manifest import read_manifest
from training.data.batches import batches
from training.data.photographs import Pixels
from training.data.styled import Styled, styled
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor

PATCH, EXAMPLE_SIDE, JUDGED_SIDE = 64, 48, 128
EXAMPLES, JUDGED = 16, 8
SHRINK = 4
"""How much smaller the innermost maps are than the image."""
MARGIN = 8
"""Pixels around the image that the network sees mirrored."""
PATCH_SEED, EXAMPLE_SEED = 20_150_826, 20_160_327


class LossNetwork(nn.Module):
    """What a trained classifier sees in images: its maps before each pooling, the finest first."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.channels = next(layer for layer in features.modules() if isinstance(layer, nn.Conv2d)).in_channels

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Float32 [batch, 3, height, width] in 0..1 to maps [batch, n, h, w]; each colour alone, if it knows grey."""
        batch, found = len(images), []
        seen = (images * 2 - 1).reshape(-1, self.channels, *images.shape[2:])
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(seen.reshape(batch, -1, *seen.shape[2:]))
            seen = layer(seen)
        return found


def gram(maps: torch.Tensor) -> torch.Tensor:
    """How much each two of maps [batch, n, h, w] occur together, a mean over all places: [batch, n, n]."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class StyleLoss:
    """Content and style of images, each relative to what is aimed at."""

    def __init__(self, network: LossNetwork, style: torch.Tensor) -> None:
        """Take the style of an image, float32 [1, 3, height, width] in 0..1."""
        self.network = network
        with torch.no_grad():
            self.wanted = [gram(maps) for maps in network(style)]

    def style(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Mean over the layers of the squared distance of Gram matrices to the style's: [batch]."""
        pairs = zip(maps, self.wanted, strict=True)
        return torch.stack([_distance(gram(one), other.to(one.device)) for one, other in pairs]).mean(0)

    def content(self, maps: list[torch.Tensor], of: list[torch.Tensor]) -> torch.Tensor:
        """Squared distance of the second layer's maps to those of other images: [batch]."""
        return _distance(maps[1], of[1])


def _distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (found - wanted).square().flatten(1).sum(1) / wanted.square().flatten(1).sum(1)


def normalised(width_in: int, width_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution over mirrored edges, instance normalisation and ReLU."""
    convolution = nn.Conv2d(width_in, width_out, size, stride, size // 2, padding_mode="reflect")
    return nn.Sequential(convolution, nn.InstanceNorm2d(width_out, affine=True), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions, added to what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(normalised(width, width), normalised(width, width)[:2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, h, w] to the same."""
        return x + self.layers(x)


class Painter(nn.Module):
    """Images [batch, 3, height, width] in 0..1 to the same; sides are multiples of 4."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            normalised(3, maps, 5),
            normalised(maps, 2 * maps, stride=2),
            normalised(2 * maps, 4 * maps, stride=2),
            Residual(4 * maps),
            Residual(4 * maps),
            # Enlarged first and convolved then, no checkerboard is seen (Odena, Dumoulin and Olah, 2016).
            nn.Upsample(scale_factor=2),
            normalised(4 * maps, 2 * maps),
            nn.Upsample(scale_factor=2),
            normalised(2 * maps, maps),
            nn.Conv2d(maps, 3, 5, padding=2, padding_mode="reflect"),
            nn.Sigmoid(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 3, height, width] to the same shape."""
        return self.layers(images)


def mirrored(size: int) -> torch.Tensor:
    """Where each pixel of an axis with mirrored margins comes from, to a multiple of `SHRINK`; any size has them."""
    places = torch.arange(-MARGIN, size + MARGIN + -size % SHRINK) % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


class StyleEndpoint(nn.Module):
    """uint8 pixels of any size in, the same picture painted out."""

    def __init__(self, painter: nn.Module) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, 3] to the same."""
        height, width = image.shape[1], image.shape[2]
        seen = image.permute(0, 3, 1, 2).float() / 255
        seen = seen.index_select(2, mirrored(height).to(seen.device)).index_select(3, mirrored(width).to(seen.device))
        painted = self.painter(seen)[:, :, MARGIN : MARGIN + height, MARGIN : MARGIN + width]
        return (painted * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class StyleTrainee(Trainee):
    """E_total of painted patches."""

    def __init__(self, recipe: Style, loss: StyleLoss) -> None:
        super().__init__()
        self.recipe = recipe
        self.painter = Painter(recipe.maps)
        self.loss = loss  # no part of the module: it is neither trained nor kept with the weights

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 patches [batch, side, side, 3]."""
        images = batch[0].permute(0, 3, 1, 2).float() / 255
        network = self.loss.network.to(images.device)
        with torch.no_grad():
            content = network(images)
        maps = network(self.painter(images))
        style_loss, content_loss = self.loss.style(maps).mean(), self.loss.content(maps, content).mean()
        self.log_mean({"style loss": style_loss, "content loss": content_loss})
        return self.recipe.alpha * content_loss + self.recipe.beta * style_loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.painter.parameters(), self.recipe.learning_rate))


@dataclass(frozen=True)
class Style(Recipe):
    """Photographs in the manner of one picture."""

    data: str = "photographs"
    """photographs: those that scikit-learn and scikit-image carry."""
    epochs: int = 10
    """Passes over the training patches."""
    batch_size: int = 4
    """Patches of one optimizer step."""
    learning_rate: float = 5e-3
    """Peak of the one-cycle schedule."""
    maps: int = 12
    """Feature maps at full size; the innermost layers have four times as many."""
    patches: int = 256
    """Patches that are cut out of the training photographs."""
    style: str = "mosaic"
    """The picture whose manner is learnt: mosaic, stained glass from a seeded generator, or the path of a file."""
    alpha: float = 1.0
    """Weight of the content loss."""
    beta: float = 5.0
    """Weight of the style loss."""
    loss_network: str = "vgg"
    """Trained classifier in whose maps content and style are compared; one with poolings among its `features`."""

    serves: ClassVar[tuple[str, ...]] = ("image -> stylised",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "photographs": {"style loss removed": 90.0, "content loss": 0.7}
    }
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"style loss removed": AllowedLoss(1.0)}

    def dataset(self) -> Styled:
        """Photographs and style; a loss network that is missing is told now."""
        if self.data != "photographs":
            raise ConchError(f"--data {self.data}: no such photographs; known are photographs")
        read_manifest(self.loss_network)
        return styled(self.style)

    def loss(self, data: Styled) -> StyleLoss:
        """Content and style as the loss network sees them.

        Raises:
            ConchError: it is none whose layers can be looked at.
        """
        features = getattr(getattr(load_checkpoint(self.loss_network).trained, "network", None), "features", None)
        if not isinstance(features, nn.Sequential) or sum(isinstance(one, nn.MaxPool2d) for one in features) < 2:
            raise ConchError(f"--loss-network {self.loss_network}: it needs features with two poolings or more, as vgg")
        return StyleLoss(LossNetwork(features), as_images(data.style[np.newaxis]))

    def trainee(self, data: Styled) -> StyleTrainee:
        """The painter with its loss and optimizer."""
        return StyleTrainee(self, self.loss(data))

    def loaders(self, data: Styled) -> tuple[DataLoader[Any], None]:
        """uint8 patches [batch, side, side, 3]."""
        patches = data.photographs.patches(self.patches, PATCH, PATCH_SEED)
        return batches(patches, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: StyleTrainee, data: Styled) -> list[Served]:
        """One endpoint: an image of any size to the same painted."""
        photographs = data.photographs
        return [
            Served(
                name=self.name(),
                module=StyleEndpoint(trained.painter).eval(),
                inputs=(Tensor("image", "uint8", ("batch", "height", "width", 3)),),
                outputs=(Tensor("stylised", "uint8", ("batch", "height", "width", 3)),),
                examples={"image": photographs.held_out_patches(EXAMPLES, EXAMPLE_SIDE, EXAMPLE_SEED)},
                calibration={"image": photographs.patches(64, EXAMPLE_SIDE, EXAMPLE_SEED)},
                largest_batch=8,
                sizes={"height": (1, EXAMPLE_SIDE), "width": (30, EXAMPLE_SIDE)},
                preparation=photographs.preparation,
            )
        ]

    def score(self, predict: Predict, data: Styled) -> list[Metric]:
        """On photographs never trained on: how much of their distance to the style is gone, and what it cost.

        The content loss is relative to that of the style's picture in the photograph's place.
        """
        content = data.photographs.held_out_patches(JUDGED, JUDGED_SIDE, EXAMPLE_SEED + 1)
        loss = self.loss(data)
        with torch.no_grad():
            before = loss.network(as_images(content))
            after = loss.network(as_images(predict({"image": content})["stylised"]))
            alone = loss.network(functional.interpolate(as_images(data.style[np.newaxis]), content.shape[1:3]))
            kept = loss.style(after).mean() / loss.style(before).mean()
            cost = loss.content(after, before).mean() / loss.content(alone, before).mean()
        return [
            Metric("style loss removed", (1 - float(kept)) * 100, "%"),
            Metric("content loss", float(cost), higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Styled, path: Path) -> None:
        """Details of held-out photographs, and the same painted."""
        content = data.photographs.held_out_patches(8, 2 * JUDGED_SIDE, EXAMPLE_SEED + 2)
        draw_rows({"photograph": content, "stylised": predict({"image": content})["stylised"]}, path)

    def upstream(self) -> dict[str, str]:
        """The loss network's weights decide what is learnt."""
        return {self.loss_network: read_manifest(self.loss_network)["sha256"]["weights"]}


def as_images(pixels: Pixels) -> torch.Tensor:
    """uint8 [batch, height, width, 3] to float32 [batch, 3, height, width] in 0..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
