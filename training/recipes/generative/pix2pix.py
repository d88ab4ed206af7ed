"""Image-to-image translation: outlines of digits to digits, by a U-Net and a discriminator that judges patches.

    conch train pix2pix

Isola, Zhu, Zhou and Efros, Image-to-image translation with conditional adversarial networks, 2016. The generator's loss
has the distance to the true image besides; the discriminator sees outline and image together and says of each patch
whether it is a real one. A network that tells digits apart (conch train cnn, before this) judges what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader

from training.adversarial import AdversarialTrainee, JudgedRecipe, to_pixels, to_signed
from training.checkpoints.drawing import draw_rows
from training.convolution import convolution
from training.data.batches import batches
from training.data.images import Images, spread
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

EXAMPLES = 64
INK = 128
"""The least value that lies inside of an outline."""


class Generator(nn.Module):
    """Outlines to images, both float32 [batch, channels, height, width] in -1..1; sides are multiples of 4."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.first = convolution(channels, maps)
        self.halved = convolution(maps, 2 * maps, stride=2)
        self.quartered = convolution(2 * maps, 4 * maps, stride=2)
        self.to_half = nn.ConvTranspose2d(4 * maps, 2 * maps, 2, stride=2)
        self.at_half = convolution(4 * maps, 2 * maps)
        self.to_full = nn.ConvTranspose2d(2 * maps, maps, 2, stride=2)
        self.at_full = convolution(2 * maps, maps)
        self.last = nn.Conv2d(maps, channels, 3, padding=1)

    def forward(self, outlines: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to the same."""
        full = self.first(outlines)
        half = self.halved(full)
        x = self.at_half(torch.cat([half, self.to_half(self.quartered(half))], 1))
        return self.last(self.at_full(torch.cat([full, self.to_full(x)], 1))).tanh()


class PatchDiscriminator(nn.Module):
    """Scores of the patches of images [batch, 2 channels, height, width], outline and image on each other."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(2 * channels, maps, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(maps, 2 * maps, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(2 * maps, 1, 3, padding=1)),
        )

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 2 channels, height, width] to float32 [batch, 1, height / 4, width / 4]."""
        return self.layers(pairs)


class TranslationEndpoint(nn.Module):
    """uint8 pixels of outlines in, uint8 pixels out."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, outline: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to the same."""
        return to_pixels(self.generator(to_signed(outline)))


class Pix2PixTrainee(AdversarialTrainee):
    """The game on images with their outlines, and the L1 distance to the true image."""

    def __init__(self, recipe: Pix2Pix, data: Images) -> None:
        channels = data.shape[2]
        generator, discriminator = Generator(channels, recipe.maps), PatchDiscriminator(channels, recipe.maps)
        super().__init__(generator, discriminator, recipe.learning_rate)
        self.distance = recipe.distance

    def training_step(self, batch: Any, _: int) -> None:
        """One step of each player on uint8 outlines and images [batch, height, width, channels]."""
        outlines, images = map(to_signed, batch)
        fake = self.generator(outlines)
        beside = self.distance * functional.l1_loss(fake, images)
        self.play(images, fake, lambda shown: self.discriminator(torch.cat([outlines, shown], 1)), beside)


def outlined(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White where an image's ink [n, height, width, channels] begins: what it loses where each pixel takes the least of
    its neighbours'."""
    ink = torch.from_numpy(np.where(images >= INK, 1.0, 0.0)).permute(0, 3, 1, 2)
    inner = -functional.max_pool2d(-functional.pad(ink, (1, 1, 1, 1)), 3, 1)
    return ((ink - inner) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


@dataclass(frozen=True)
class Pix2Pix(JudgedRecipe):
    """Outlines of images to images."""

    epochs: int = 15
    """Passes over the training split."""
    learning_rate: float = 1e-3
    """Of both players, for the first half."""
    maps: int = 16
    """Feature maps of the generator at full size and of the discriminator's first layer."""
    distance: float = 20.0
    """Weight of the distance to the true image in the generator's loss."""

    serves: ClassVar[tuple[str, ...]] = ("outline -> image",)
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"epochs": 4, "batch_size": 64} for name in ("mnist", "fashion-mnist")
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"read right": 95.0, "mean difference": 12.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"read right": AllowedLoss(0.5)}

    def trainee(self, data: Images) -> Pix2PixTrainee:
        """Both players with their losses and optimizers."""
        return Pix2PixTrainee(self, data)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 outlines and images [batch, height, width, channels]."""
        return batches(outlined(data.train), data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: Pix2PixTrainee, data: Images) -> list[Served]:
        """One endpoint: an outline to an image."""
        return [
            Served(
                name=self.name(),
                module=TranslationEndpoint(trained.averaged.module).eval(),
                inputs=(Tensor("outline", "uint8", ("batch", *data.shape)),),
                outputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                examples={"outline": outlined(data.held_out[:EXAMPLES])},
                calibration={"outline": outlined(spread(data.train, EXAMPLES))},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Share of the images made of held-out outlines in which the judge reads what the outline is of.

        And how far a pixel is from the true one, in grey levels: an outline that came back as it is would be far.
        """
        images = predict({"outline": outlined(data.held_out)})["image"]
        right = self.judged(images).argmax(1) == data.held_out_labels
        difference = np.abs(images.astype(np.float64) - data.held_out).mean()
        return [
            Metric("read right", float(right.mean() * 100), "%"),
            Metric("mean difference", float(difference), higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """Outlines, what was made of them, and what they are of."""
        outlines = outlined(data.held_out[:12])
        draw_rows(
            {"outline": outlines, "made": predict({"outline": outlines})["image"], "truth": data.held_out[:12]}, path
        )
