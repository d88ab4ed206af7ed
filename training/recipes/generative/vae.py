"""A variational autoencoder: images as points of a space from which new images are drawn.

    conch train vae
    conch train vae --data sprites                          numbers of the code that mean one thing each
    conch train vae --data sprites --beta 1 --no-floors     the plain one, to compare with

Kingma and Welling, Auto-encoding variational Bayes, 2013; Higgins and others, beta-VAE, 2017. Three models are served:
the encoder, the decoder, and both with the noise between them as an input, which also says how many nats the image
takes. A disentangled code is measured by the mutual information gap (Chen and others, 2018): by seeds 0 and 1 the
first of those two has 0.235 and 0.225, the plain one 0.078 and 0.084.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from training.checkpoints.drawing import draw_rows
from training.coding import psnr
from training.data.batches import batches
from training.data.images import Images, spread
from training.data.sprites import SpriteImages, sprite_images
from training.disentanglement import mutual_information_gap
from training.image_code import image_decoder, image_encoder
from training.image_recipe import ImageRecipe
from training.loop.trainee import Trainee, one_cycle
from training.predict import torch_predict
from training.recipe import Metric, Predict, Served, Tensor, Tolerance

EXAMPLES = 64
NOISE_SEED = 20_131_220
LARGEST_LOG_VARIANCE = 10.0
TRAVERSED, STEPS, REACH = 6, 12, 2.5
"""Numbers of a code that the picture changes, in how many steps, and how far from 0."""


class VAE(nn.Module):
    """Encoder, decoder, and the deviation of a pixel from what the decoder says, one for all."""

    def __init__(self, height: int, width: int, channels: int, code: int) -> None:
        super().__init__()
        self.encoder = image_encoder(height, width, channels, 2 * code)
        self.decoder = image_decoder(height, width, channels, code)
        self.log_deviation = nn.Parameter(torch.tensor(-1.0))

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 [batch, channels, height, width] in 0..1 to means and log variances [batch, code]."""
        mean, log_variance = self.encoder(images).chunk(2, 1)
        return mean, log_variance.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images and standard normal noise [batch, code] to images, codes, and the bound's two parts in nats [batch].

        The first is the density of the pixels as normal numbers around the answer, the second the divergence of the
        code's distribution from the standard normal one, in closed form.
        """
        mean, log_variance = self.encode(images)
        code = mean + (log_variance / 2).exp() * noise
        again = self.decoder(code)
        squares = ((images - again) / self.log_deviation.exp()).square().flatten(1).sum(1)
        pixels = images[0].numel() * (self.log_deviation + math.log(2 * math.pi) / 2)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return again, code, squares / 2 + pixels, divergence


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """Float32 [batch, channels, height, width] to uint8 [batch, height, width, channels]."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class VAEEndpoint(nn.Module):
    """An image and noise to an image like it, a code of it, and the bound on the nats that it takes."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels] and float32 [batch, code] to both again and float32 [batch, 1]."""
        again, code, pixels, divergence = self.network(image.permute(0, 3, 1, 2).float() / 255, noise)
        return to_pixels(again), code, (pixels + divergence).unsqueeze(1)


class EncoderEndpoint(nn.Module):
    """An image to the distribution of its code."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels] to means and log variances, float32 [batch, code]."""
        return self.network.encode(image.permute(0, 3, 1, 2).float() / 255)


class DecoderEndpoint(nn.Module):
    """A code to an image."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.decoder = network.decoder

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, code] to uint8 [batch, height, width, channels]."""
        return to_pixels(self.decoder(latent))


class VAETrainee(Trainee):
    """The evidence lower bound, its divergence weighted with beta."""

    def __init__(self, network: VAE, recipe: VAERecipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, channels]."""
        images = batch[0].permute(0, 3, 1, 2).float() / 255
        noise = torch.randn(len(images), self.recipe.code, device=self.device)
        _, _, pixels, divergence = self.network(images, noise)
        loss = (pixels + self.recipe.beta * divergence).mean() / images[0].numel()
        self.log_mean({"train loss": loss, "divergence": divergence.mean()})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.Adam(self.parameters(), self.recipe.learning_rate))


def noise(count: int, code: int) -> NDArray[np.float32]:
    """The same standard normal noise [count, code] for the same numbers."""
    return np.random.default_rng(NOISE_SEED).standard_normal((count, code), np.float32)


def gaussian_pixels(data: Images) -> float:
    """Nats of a held-out image whose pixels are normal numbers around the training images' mean, of one deviation."""
    train, held_out = data.train.astype(np.float64) / 255, data.held_out.astype(np.float64) / 255
    variance = np.square(train - train.mean(0)).mean()
    squares = np.square(held_out - train.mean(0)).reshape(len(held_out), -1).sum(1).mean()
    return float(squares / variance / 2 + train[0].size * math.log(2 * math.pi * variance) / 2)


def nats_of_numbers(mean: NDArray[np.float32], log_variance: NDArray[np.float32]) -> NDArray[np.float64]:
    """Divergence of each number [n, code] of a code from the standard normal distribution."""
    wide = log_variance.astype(np.float64)
    return (np.square(mean.astype(np.float64)) + np.exp(wide) - 1 - wide) / 2


def divergence(mean: NDArray[np.float32], log_variance: NDArray[np.float32]) -> Metric:
    """What the code of an image takes, on average."""
    return Metric("divergence", nats_of_numbers(mean, log_variance).sum(1).mean(), "nats", higher_is_better=False)


def decoded(predict: Predict, latent: NDArray[np.float32], data: Images) -> Metric:
    """How near a decoder comes to the held-out images by the means of their codes [n, code]."""
    return Metric("PSNR of means", psnr(predict({"latent": latent})["image"], data.held_out), "dB")


@dataclass(frozen=True)
class VAERecipe(ImageRecipe):
    """Images as points of a space to draw from: encoder, decoder and both."""

    epochs: int = 30
    """Passes over the training split."""
    code: int = 12
    """Numbers of a code."""
    beta: float = 1.0
    """Weight of the divergence; above 1 the numbers of the code tend to mean one thing each."""

    serves: ClassVar[tuple[str, ...]] = (
        "image, noise -> reconstruction, code, nats",
        "vae_encoder: image -> mean, log_variance",
        "vae_decoder: latent -> image",
    )
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sprites": {"beta": 50.0, "code": 5, "epochs": 20, "learning_rate": 2e-3},
        "mnist": {"epochs": 12, "batch_size": 128},
    }
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "digits": {"nats below Gaussian pixels": 300.0},
        "sprites": {"mutual information gap": 0.15},
    }

    def dataset(self) -> Images:
        """The images."""
        return sprite_images() if self.data == "sprites" else super().dataset()

    def trainee(self, data: Images) -> VAETrainee:
        """The network with its loss and optimizer."""
        return VAETrainee(VAE(*data.shape, self.code), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels]."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: VAETrainee, data: Images) -> list[Served]:
        """An image and noise to an image and its nats; an image to its code; a code to an image."""
        name, image = self.name(), Tensor("image", "uint8", ("batch", *data.shape))
        held_out, code = data.held_out[:EXAMPLES], ("batch", self.code)
        mean, drawn = Tensor("mean", "float32", code), Tensor("code", "float32", code)
        encoder = Served(
            name=f"{name}_encoder",
            module=EncoderEndpoint(trained.network).eval(),
            inputs=(image,),
            outputs=(mean, Tensor("log_variance", "float32", code)),
            examples={"image": held_out},
            preparation=data.preparation,
            score=lambda predict: [divergence(**predict({"image": data.held_out}))],
        )
        return [
            Served(
                name=name,
                module=VAEEndpoint(trained.network).eval(),
                inputs=(image, Tensor("noise", "float32", code, low=-3, high=3)),
                outputs=(
                    Tensor("reconstruction", "uint8", ("batch", *data.shape)),
                    drawn,
                    Tensor("nats", "float32", ("batch", 1)),
                ),
                tolerance={"float32": Tolerance(1e-3, 1e-4, "nats are sums of squares over all pixels, thousands")},
                examples={"image": held_out, "noise": noise(len(held_out), self.code)},
                calibration={"image": spread(data.train, EXAMPLES), "noise": noise(EXAMPLES, self.code)},
                preparation=data.preparation,
            ),
            encoder,
            Served(
                name=f"{name}_decoder",
                module=DecoderEndpoint(trained.network).eval(),
                inputs=(Tensor("latent", "float32", code, low=-3, high=3),),
                outputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                examples={"latent": torch_predict(encoder)({"image": held_out})["mean"]},
                calibration={"latent": noise(EXAMPLES, self.code)},
                score=lambda predict: [
                    decoded(predict, torch_predict(encoder)({"image": data.held_out})["mean"], data)
                ],
            ),
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """Nats of a held-out image, and how far they lie below those of pixels that look at nothing."""
        found = predict({"image": data.held_out, "noise": noise(len(data.held_out), self.code)})
        nats = float(found["nats"].astype(np.float64).mean())
        metrics = [
            Metric("nats below Gaussian pixels", gaussian_pixels(data) - nats),
            Metric("nats an image", nats, higher_is_better=False),
        ]
        if not isinstance(data, SpriteImages):
            return metrics
        gap = mutual_information_gap(found["code"], data.held_out_factors)
        return [Metric("mutual information gap", gap), *metrics]

    def picture(self, trained: VAETrainee, predict: Predict, data: Images, path: Path) -> None:
        """Held-out images, what comes back of each, and one of them changed in a number of its code at a time.

        The numbers are those that say most of an image, the first the most.
        """
        _, encoder, decoder = (torch_predict(served) for served in self.served(trained, data))
        images = data.held_out[:STEPS]
        rows = {"image": images, "again": decoder({"latent": encoder({"image": images})["mean"]})["image"]}
        found = encoder({"image": data.held_out})
        said = nats_of_numbers(**found).mean(0)
        for number in np.argsort(-said)[:TRAVERSED]:
            codes = np.repeat(found["mean"][:1], STEPS, axis=0)
            codes[:, number] = np.linspace(-REACH, REACH, STEPS)
            rows[f"{number}: {said[number]:.1f} nats"] = decoder({"latent": codes})["image"]
        draw_rows(rows, path)
