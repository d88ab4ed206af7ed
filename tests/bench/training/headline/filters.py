"""Classical filters against noise, tuned on images whose clean version is known.

Noise that is clipped to the pixel range has a mean: black turns dark grey. No filter here undoes that, a network does.
So each filter also stands with a brightness correction behind it, the straight line from its pixels to the clean ones
that fits best (least squares), and is tuned for that anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian, median
from skimage.morphology import disk
from skimage.restoration import denoise_nl_means

from training.recipes.autoencoder import psnr

Pixels = NDArray[np.uint8]
Line = tuple[float, float]
UNCHANGED: Line = (1.0, 0.0)


@dataclass(frozen=True)
class Filter:
    """A filter of scikit-image, and the grid its settings are searched in."""

    name: str
    apply: Callable[..., NDArray[np.floating[Any]]]
    """Float images [n, height, width, channels] in 0..1 and settings to the same shape."""
    grid: Mapping[str, tuple[Any, ...]]

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every point of the grid."""
        for values in product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


@dataclass(frozen=True)
class Tuned:
    """A filter with the settings that were best."""

    filter: Filter
    settings: dict[str, Any]
    line: Line
    """Gain and offset that follow the filter, in units of the pixel range."""
    psnr: float
    """Reached on the images it was tuned on, in dB."""

    def __call__(self, noisy: Pixels) -> Pixels:
        """uint8 [n, height, width, channels] to the same."""
        return as_pixels(self.filter.apply(noisy / np.float32(255), **self.settings), self.line)

    @property
    def corrected(self) -> bool:
        """Whether a brightness correction follows the filter."""
        return self.line != UNCHANGED


def _gaussian(images: NDArray[np.float32], sigma: float) -> NDArray[np.floating[Any]]:
    return gaussian(images, sigma=(0, sigma, sigma, 0))


def _median(images: NDArray[np.float32], shape: str, radius: int) -> NDArray[np.floating[Any]]:
    side = 2 * radius + 1
    footprint = disk(radius) if shape == "disk" else np.ones((side, side), np.uint8)
    return median(images, footprint[np.newaxis, :, :, np.newaxis])


def _non_local_means(
    images: NDArray[np.float32], patch_size: int, patch_distance: int, sigma: float, h: float
) -> NDArray[np.floating[Any]]:
    filtered = np.stack([
        denoise_nl_means(image, patch_size, patch_distance, h, sigma=sigma, fast_mode=True, channel_axis=-1)
        for image in images
    ])  # fmt: skip
    return filtered.reshape(images.shape)  # a single channel was dropped


def contenders(noise: float) -> tuple[Filter, ...]:
    """Gaussian, median and non-local means, with grids for Gaussian noise of this standard deviation.

    Non-local means (Buades et al., 2005) takes the noise's deviation off the patch distances; clipping makes it less
    than `noise`, so smaller ones and none are tried, too.
    """
    return (
        Filter("Gaussian", _gaussian, {"sigma": tuple(round(0.3 + 0.1 * step, 1) for step in range(25))}),
        Filter("median", _median, {"shape": ("square", "disk"), "radius": (1, 2, 3, 4)}),
        Filter("non-local means", _non_local_means, {
            "patch_size": (3, 5, 7),
            "patch_distance": (2, 3, 4, 6, 8),
            "sigma": tuple(round(share * noise, 3) for share in (0, 0.4, 0.7, 1)),
            "h": tuple(round(share * noise, 3) for share in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)),
        }),
    )  # fmt: skip


def tune(filter: Filter, noisy: Pixels, clean: Pixels) -> tuple[Tuned, Tuned]:
    """The best settings of the grid by PSNR: of the filter alone, and with the brightness correction behind it."""
    alone: Tuned | None = None
    corrected: Tuned | None = None
    for settings in filter.settings():
        filtered = filter.apply(noisy / np.float32(255), **settings)
        alone = _better(alone, Tuned(filter, settings, UNCHANGED, psnr(as_pixels(filtered, UNCHANGED), clean)))
        line = fit_line(filtered, clean)
        corrected = _better(corrected, Tuned(filter, settings, line, psnr(as_pixels(filtered, line), clean)))
    assert alone is not None
    assert corrected is not None
    return alone, corrected


def fit_line(filtered: NDArray[np.floating[Any]], clean: Pixels) -> Line:
    """Gain and offset that bring `filtered` in 0..1 nearest to uint8 `clean`, by least squares."""
    gain, offset = np.polyfit(filtered.astype(np.float64).ravel(), clean.ravel() / 255, 1)
    return float(gain), float(offset)


def as_pixels(images: NDArray[np.floating[Any]], line: Line) -> Pixels:
    """Float images in 0..1, brought onto the line, as uint8: rounded and clipped as the served network's are."""
    gain, offset = line
    return np.clip(np.rint((gain * images + offset) * 255), 0, 255).astype(np.uint8)


def _better(best: Tuned | None, found: Tuned) -> Tuned:
    return found if best is None or found.psnr > best.psnr else best
