"""Super-resolution: a photograph of twice the size, by a network that works at the small one (ESPCN).

    conch train superresolution
    conch train superresolution --maps 48 --epochs 30

Shi and others, Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network, 2016; the task is that of Romano, Isidoro and Milanfar, RAISR: rapid and accurate image super-resolution, 2016.
The last convolution gives each pixel four values for each colour, which become its four pixels; it learns what to add
to the pixel itself (Kim, Lee and Lee, 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.drawing import draw_rows
from training.data.batches import batches
from training.data.photographs import Photographs, Pixels, photographs
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Recipe, Served, Tensor

SCALE = 2
PATCH = 24
"""Side of a small training patch, in pixels."""
EXAMPLES, EXAMPLE_SIDE = 32, 40
PATCH_SEED, EXAMPLE_SEED = 20_160_916, 20_160_601


class ESPCN(nn.Module):
    """Three convolutions at the small size, and the shuffle of their maps into pixels."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, maps, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(maps, 3 * SCALE**2, 3, padding=1),
        )

    def forward(self, small: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 3, height, width] in 0..1 to the same of twice the height and width, unbounded."""
        same = small.repeat_interleave(SCALE**2, dim=1)
        return functional.pixel_shuffle(self.layers(small) + same, SCALE)


class EnlargingEndpoint(nn.Module):
    """uint8 pixels in, uint8 pixels of twice the size out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, 3] to uint8 [batch, 2 height, 2 width, 3]."""
        large = self.network(image.permute(0, 3, 1, 2).float() / 255).clamp(0, 1)
        return (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class ESPCNTrainee(Trainee):
    """Squared error, each batch turned and mirrored at random."""

    def __init__(self, network: ESPCN, recipe: SuperResolution) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 small and large patches [batch, side, side, 3]."""
        small, large = (patches.permute(0, 3, 1, 2).float() / 255 for patches in batch)
        for axes in ((2,), (3,)):
            if torch.rand(()) < 0.5:
                small, large = small.flip(axes), large.flip(axes)
        if torch.rand(()) < 0.5:
            small, large = small.transpose(2, 3), large.transpose(2, 3)
        loss = functional.mse_loss(self.network(small), large)
        self.log_mean({"train loss": loss})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.recipe.learning_rate))


def resized(pictures: Pixels, factor: float) -> Pixels:
    """Pictures [n, height, width, 3] of another size, by Pillow's bicubic filter; antialiased where they shrink."""
    height, width = (round(side * factor) for side in pictures.shape[1:3])
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in pictures]
    )


def psnr(found: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio in dB over all pixels."""
    return float(10 * np.log10(255**2 / np.square(found.astype(np.float64) - truth).mean()))


@dataclass(frozen=True)
class SuperResolution(Recipe):
    """Photographs of twice the size."""

    data: str = "photographs"
    """photographs: those that scikit-learn and scikit-image carry."""
    epochs: int = 15
    """Passes over the training patches."""
    batch_size: int = 16
    """Patches of one optimizer step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    maps: int = 32
    """Feature maps of both hidden layers."""
    patches: int = 2000
    """Patches that are cut out of the training photographs."""

    serves: ClassVar[tuple[str, ...]] = ("image -> enlarged",)
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"photographs": {"PSNR over bicubic": 0.5}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"PSNR over bicubic": AllowedLoss(0.1)}

    def dataset(self) -> Photographs:
        """The photographs."""
        if self.data != "photographs":
            raise ConchError(f"--data {self.data}: no such photographs; known are photographs")
        return photographs()

    def trainee(self, data: Photographs) -> ESPCNTrainee:
        """The network with its loss and optimizer."""
        return ESPCNTrainee(ESPCN(self.maps), self)

    def loaders(self, data: Photographs) -> tuple[DataLoader[Any], None]:
        """Small and large uint8 patches [batch, side, side, 3]."""
        large = data.patches(self.patches, SCALE * PATCH, PATCH_SEED)
        return batches(resized(large, 1 / SCALE), large, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: ESPCNTrainee, data: Photographs) -> list[Served]:
        """One endpoint: an image of any size to one of twice the size."""
        examples = resized(data.held_out_patches(EXAMPLES, SCALE * EXAMPLE_SIDE, EXAMPLE_SEED), 1 / SCALE)
        return [
            Served(
                name=self.name(),
                module=EnlargingEndpoint(trained.network).eval(),
                inputs=(Tensor("image", "uint8", ("batch", "height", "width", 3)),),
                outputs=(Tensor("enlarged", "uint8", ("batch", "twice_height", "twice_width", 3)),),
                examples={"image": examples},
                calibration={"image": resized(data.patches(64, SCALE * EXAMPLE_SIDE, EXAMPLE_SEED), 1 / SCALE)},
                largest_batch=8,
                sizes={"height": (1, 17, EXAMPLE_SIDE), "width": (30, EXAMPLE_SIDE)},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Photographs) -> list[Metric]:
        """How much nearer to held-out photographs the answers are than Pillow's bicubic enlargement of the same."""
        ours, bicubic = [], []
        for photograph in data.held_out:
            truth = photograph[np.newaxis]
            small = resized(truth, 1 / SCALE)
            ours.append(psnr(predict({"image": small})["enlarged"], truth))
            bicubic.append(psnr(resized(small, SCALE), truth))
        return [
            Metric("PSNR over bicubic", float(np.mean(ours) - np.mean(bicubic)), "dB"),
            Metric("PSNR", float(np.mean(ours)), "dB"),
        ]

    def samples(self, predict: Predict, data: Photographs, path: Path) -> None:
        """Details of held-out photographs: as they are, enlarged by the network and by the bicubic filter."""
        truth = data.held_out_patches(8, SCALE * EXAMPLE_SIDE, EXAMPLE_SEED + 1)
        small = resized(truth, 1 / SCALE)
        rows = {"truth": truth, "enlarged": predict({"image": small})["enlarged"], "bicubic": resized(small, SCALE)}
        draw_rows(rows, path)
