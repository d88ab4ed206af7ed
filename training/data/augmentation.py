"""What is done to images before a classifier sees them: at random while it learns, evenly when it is served."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

ViewsOf = Literal["image", "mirrored", "crops", "mirrored-crops"]


def to_unit_range(image: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, channels] in 0..255 to float32 [batch, channels, height, width] in -1..1."""
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


class Augmentation:
    """Random crops, reflections and intensities, each image of a batch its own (He et al., 2015, section 4.2)."""

    def __init__(self, shift: int, mirror: bool, intensity: float) -> None:
        self.shift, self.mirror, self.intensity = shift, mirror, intensity

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, height, width, channels] to float32 [batch, channels, height, width] around -1..1."""
        augmented = to_unit_range(random_crop(images, self.shift, self.mirror))
        if self.intensity == 0:
            return augmented
        contrast, brightness = self.intensity * (2 * torch.rand(2, len(images), 1, 1, 1, device=images.device) - 1)
        return augmented * (1 + contrast) + brightness


def random_crop(images: torch.Tensor, pixels: int, mirror: bool = False) -> torch.Tensor:
    """Pad each image [batch, height, width, channels] with its edge and cut its size out of it somewhere.

    Args:
        images: any dtype; gathered as they are, so that bytes are cheapest.
        pixels: how many are padded at each side, and so the most an image is shifted either way.
        mirror: whether every other image, by chance, is also turned left to right.
    """
    batch, height, width, channels = images.shape
    device = images.device
    if mirror:
        images = torch.where(torch.rand(batch, 1, 1, 1, device=device) < 0.5, images.flip(2), images)
    if pixels == 0:
        return images
    down, right = torch.randint(-pixels, pixels + 1, (2, batch, 1), device=device)
    left_edge, right_edge = (edge.expand(-1, -1, pixels, -1) for edge in (images[:, :, :1], images[:, :, -1:]))
    padded = torch.cat([left_edge, images, right_edge], 2).flatten()
    # A row above or below the image is brought back to its edge, which is what padding would have put there.
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    rows = rows + height * torch.arange(batch, device=device)[:, None]
    starts = channels * ((width + 2 * pixels) * rows + pixels + right)
    # Pixel by pixel it takes twice as long: so every piece of a row's length is a row of this view, and some are taken.
    pieces = padded.as_strided((len(padded) - width * channels + 1, width * channels), (1, 1))
    return pieces.index_select(0, starts.flatten()).view(batch, height, width, channels)


class Views(nn.Module):
    """The views of an image that a served classifier averages over (Krizhevsky et al., 2012, section 4.1)."""

    def __init__(self, kind: ViewsOf, shift: int) -> None:
        """What is looked at.

        Args:
            kind: "image" alone; with its mirror image ("mirrored"); with four crops, each `shift` pixels off towards a
                corner ("crops"); all five and their mirror images ("mirrored-crops").
            shift: pixels.
        """
        super().__init__()
        self.shift = shift if "crops" in kind else 0
        self.mirror = "mirrored" in kind

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """[batch, channels, height, width] to as many of the same shape as there are views."""
        seen = [images]
        if self.shift:
            height, width = images.shape[2:]
            padded = functional.pad(images, (self.shift,) * 4, mode="replicate")
            seen += [
                padded[:, :, top : top + height, left : left + width]
                for top in (0, 2 * self.shift)
                for left in (0, 2 * self.shift)
            ]
        return [*seen, *(view.flip(3) for view in seen)] if self.mirror else seen
