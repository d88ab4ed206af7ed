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
    if not (mirror or pixels):
        return images
    batch, height, width, _ = images.shape
    device = images.device
    rows = torch.arange(height, device=device).expand(batch, height)
    columns = torch.arange(width, device=device).expand(batch, width)
    if mirror:
        columns = torch.where(torch.rand(batch, 1, device=device) < 0.5, width - 1 - columns, columns)
    if pixels:
        down, right = torch.randint(-pixels, pixels + 1, (2, batch, 1), device=device)
        # An index past the edge that is brought back to it reads what padding with the edge would have put there.
        rows, columns = (rows + down).clamp(0, height - 1), (columns + right).clamp(0, width - 1)
    rows = rows + height * torch.arange(batch, device=device)[:, None]
    # One index into all pixels of the batch is gathered in half the time of one for each axis.
    pixel = width * rows[:, :, None] + columns[:, None, :]
    return images.flatten(0, 2).index_select(0, pixel.flatten()).view(images.shape)


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
