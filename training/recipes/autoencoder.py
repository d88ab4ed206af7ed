"""A denoising autoencoder: convolutional encoder, code, decoder, trained to undo Gaussian noise.

    conch train autoencoder
    conch train autoencoder --sigma 0.5 --epochs 40
    conch train autoencoder --data mnist --sigma 0.5

Vincent et al., Extracting and composing robust features with denoising autoencoders, 2008. Its
convolutions are those of `training/image_code.py`, which other recipes use as well.
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
from torch.utils.data import DataLoader

from training.checkpoints.drawing import draw_rows
from training.data.batches import batches
from training.data.images import Images, spread
from training.image_code import image_decoder, image_encoder
from training.image_recipe import ImageRecipe
from training.loop.trainee import Trainee, one_cycle
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

EXAMPLES = 64
NOISE_SEED = 20_080_705


class DenoisingAutoencoder(nn.Module):
    """Images [batch, channels, height, width] in 0..1, noisy to clean; height and width are multiples of 4."""

    def __init__(self, height: int, width: int, channels: int, code: int) -> None:
        super().__init__()
        self.encoder = image_encoder(height, width, channels, code)
        self.decoder = image_decoder(height, width, channels, code)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to the same shape, unbounded."""
        return self.decoder(self.encoder(noisy))


class DenoiserEndpoint(nn.Module):
    """uint8 pixels in, uint8 pixels and an anomaly score out."""

    def __init__(self, network: DenoisingAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels] to the same, cleaned, and float32 [batch, 1].

        The second output is the root mean square of what was taken away, in units of the full pixel range: for images
        like those trained on it is the noise, for others it is how little they are like them.
        """
        noisy = image.permute(0, 3, 1, 2).float() / 255
        clean = self.network(noisy).clamp(0, 1)
        error = (clean - noisy).square().mean((1, 2, 3)).sqrt().unsqueeze(1)
        return (clean * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), error


class AutoencoderTrainee(Trainee):
    """Squared error between the clean image and what the network makes of a noisy one, new noise each time."""

    def __init__(self, network: DenoisingAutoencoder, recipe: Autoencoder) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def _loss(self, images: torch.Tensor) -> torch.Tensor:
        clean = images.permute(0, 3, 1, 2).float() / 255
        noisy = (clean + self.recipe.sigma * torch.randn_like(clean)).clamp(0, 1)
        return functional.mse_loss(self.network(noisy), clean)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, channels]."""
        loss = self._loss(batch[0])
        self.log_mean({"train loss": loss})
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """The same on held-out images."""
        self.log("held-out loss", self._loss(batch[0]), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.AdamW(self.parameters(), self.recipe.learning_rate))


def add_noise(images: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """The same noise for the same images: Gaussian, `sigma` of the full range, clipped to 0..255 and rounded."""
    noise = np.random.default_rng(NOISE_SEED).normal(0, sigma * 255, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def psnr(images: NDArray[np.uint8], clean: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of uint8 arrays of one shape."""
    return float(10 * np.log10(255**2 / np.square(images.astype(np.float64) - clean).mean()))


@dataclass(frozen=True)
class Autoencoder(ImageRecipe):
    """Convolutional denoising autoencoder."""

    epochs: int = 15
    """Passes over the training split."""
    sigma: float = 0.3
    """Standard deviation of the noise, the full pixel range being 1."""
    code: int = 64
    """Numbers between encoder and decoder."""

    serves: ClassVar[tuple[str, ...]] = ("image -> denoised, error",)
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"epochs": 10, "batch_size": 64} for name in ("mnist", "fashion-mnist", "cifar10")
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {"digits": {"PSNR gain": 10.0}}
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"PSNR gain": AllowedLoss(0.2)}

    def trainee(self, data: Images) -> AutoencoderTrainee:
        """The network with its loss and optimizer."""
        return AutoencoderTrainee(DenoisingAutoencoder(*data.shape, self.code), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Clean uint8 images [batch, height, width, channels]."""
        return (
            batches(data.train, size=self.batch_size, shuffle_seed=self.seed),
            batches(data.held_out, size=256),
        )

    def served(self, trained: AutoencoderTrainee, data: Images) -> list[Served]:
        """One endpoint: a noisy image to a clean one and an anomaly score."""
        return [
            Served(
                name=self.name(),
                module=DenoiserEndpoint(trained.network).eval(),
                inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                outputs=(
                    Tensor("denoised", "uint8", ("batch", *data.shape)),
                    Tensor("error", "float32", ("batch", 1)),
                ),
                examples={"image": add_noise(data.held_out[:EXAMPLES], self.sigma)},
                calibration={"image": add_noise(spread(data.train, 2 * EXAMPLES), self.sigma)},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """How much nearer to the clean held-out images the answers are than the noisy inputs were."""
        noisy = add_noise(data.held_out, self.sigma)
        denoised = psnr(predict({"image": noisy})["denoised"], data.held_out)
        return [
            Metric("PSNR gain", denoised - psnr(noisy, data.held_out), "dB"),
            Metric("PSNR", denoised, "dB"),
        ]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """Clean, noisy and denoised held-out images, one above the other."""
        clean = data.held_out[:12]
        noisy = add_noise(data.held_out, self.sigma)[:12]
        draw_rows({"clean": clean, "noisy": noisy, "denoised": predict({"image": noisy})["denoised"]}, path)
