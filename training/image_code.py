"""Encoder and decoder of images by strided convolutions, between them a code: what autoencoders are built of.

Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.
"""

from __future__ import annotations

from torch import nn


def image_encoder(height: int, width: int, channels: int, numbers: int) -> nn.Sequential:
    """Float32 [batch, channels, height, width] to [batch, numbers]; height and width are multiples of 4."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), numbers),
    )


def image_decoder(height: int, width: int, channels: int, code: int) -> nn.Sequential:
    """Float32 [batch, code] to [batch, channels, height, width], unbounded."""
    return nn.Sequential(
        nn.Linear(code, 64 * (height // 4) * (width // 4)),
        nn.ReLU(),
        nn.Unflatten(1, (64, height // 4, width // 4)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
    )
