"""The convolution that networks of images are built of, with the normalisation behind it."""

from __future__ import annotations

from torch import nn


def convolution(width_in: int, width_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation (Ioffe and Szegedy, 2015) and ReLU.

    [batch, width_in, height, width] to [batch, width_out, height / stride, width / stride]; `size` is odd.
    """
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(width_out), nn.ReLU()
    )
