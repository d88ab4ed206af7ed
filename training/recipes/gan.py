"""DCGAN: a generator of images, trained against a discriminator. Only the generator is served.

    conch train cnn          the judge, trained first
    conch train gan

    conch train cnn --data mnist
    conch train gan --data mnist

Goodfellow et al., Generative adversarial nets, 2014; Radford et al., Unsupervised representation learning with deep
convolutional generative adversarial networks, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.drawing import grid
from training.checkpoints.manifest import read_manifest
from training.data.batches import batches
from training.data.images import Images
from training.image_recipe import ImageRecipe
from training.loop.trainee import Trainee
from training.predict import torch_predict
from training.recipe import AllowedLoss, Metric, Predict, Served, Tensor

EXAMPLES = 64
JUDGED_SAMPLES = 1000
AVERAGING = 0.998  # share of the average that a step keeps; over the last 500 steps or so
LATENT_SEED = 20_141_210
CALIBRATION_SEED = 20_160_107


class Generator(nn.Module):
    """Latents [batch, latent] to images [batch, channels, height, width] in -1..1; sides are multiples of 4."""

    def __init__(self, latent: int, height: int, width: int, channels: int, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent, 2 * maps * (height // 4) * (width // 4), bias=False),
            nn.Unflatten(1, (2 * maps, height // 4, width // 4)),
            nn.BatchNorm2d(2 * maps),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * maps, maps, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(maps),
            nn.ReLU(),
            nn.ConvTranspose2d(maps, maps // 2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(maps // 2),
            nn.ReLU(),
            nn.Conv2d(maps // 2, channels, 3, padding=1),
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, latent] to float32 [batch, channels, height, width]."""
        return self.layers(latent)


class Discriminator(nn.Module):
    """Scores [batch] of images [batch, channels, height, width] in -1..1; higher is more like real ones.

    Spectral normalisation (Miyato et al., 2018) keeps its slope near 1 everywhere, so that it cannot run away from the
    generator.
    """

    def __init__(self, height: int, width: int, channels: int, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, maps, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(maps, 2 * maps, 3, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(2 * maps, 2 * maps, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            BatchDeviation(),
            nn.Flatten(),
            spectral_norm(nn.Linear((2 * maps + 1) * (height // 4) * (width // 4), 1)),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, channels, height, width] to float32 [batch]."""
        return self.layers(images).squeeze(1)


class BatchDeviation(nn.Module):
    """Appends one map that says how much the images of the batch differ (Karras et al., 2018, section 3).

    A generator that makes a few images again and again is found out by it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, channels + 1, height, width]."""
        deviation = x.std(0, unbiased=False).mean()
        return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], 1)


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), as the DCGAN paper has it."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)


class GeneratorEndpoint(nn.Module):
    """Latents in, uint8 pixels out."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, latent], standard normal, to uint8 [batch, height, width, channels]."""
        images = (self.generator(latent) + 1) * 127.5
        return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class GANTrainee(Trainee):
    """The two-player game with the hinge loss (Lim and Ye, 2017).

    The served generator is a moving average of the trained one (Yazıcı et al., 2019).
    """

    def __init__(self, recipe: GAN, data: Images) -> None:
        super().__init__()
        self.recipe = recipe
        self.automatic_optimization = False
        self.generator = Generator(recipe.latent, *data.shape, recipe.maps)
        self.discriminator = Discriminator(*data.shape, recipe.maps)
        self.averaged = AveragedModel(self.generator, avg_fn=moving_average, use_buffers=True)

    def training_step(self, batch: Any, _: int) -> None:
        """One step of each player on uint8 images [batch, height, width, channels]."""
        real = batch[0].permute(0, 3, 1, 2).float() / 127.5 - 1
        fake = self.generator(torch.randn(len(real), self.recipe.latent, device=self.device))
        discriminator_optimizer, generator_optimizer = cast(list[LightningOptimizer], self.optimizers())

        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake.detach())
        discriminator_loss = functional.relu(1 - real_scores).mean() + functional.relu(1 + fake_scores).mean()
        discriminator_optimizer.zero_grad()
        self.manual_backward(discriminator_loss)
        discriminator_optimizer.step()

        generator_loss = -self.discriminator(fake).mean()
        generator_optimizer.zero_grad()
        self.manual_backward(generator_loss)
        generator_optimizer.step()
        self.averaged.update_parameters(self.generator)
        for schedule in cast(list[LRScheduler], self.lr_schedulers()):
            schedule.step()
        self.log_mean({"discriminator loss": discriminator_loss, "generator loss": generator_loss})

    def configure_optimizers(self) -> Any:
        """Adam with the DCGAN paper's momentum, one for each player; the rate falls to 0 over the second half."""
        optimizers = [
            torch.optim.Adam(player.parameters(), self.recipe.learning_rate, betas=(0.5, 0.999))
            for player in (self.discriminator, self.generator)
        ]
        batches = int(self.trainer.estimated_stepping_batches)
        return optimizers, [LambdaLR(one, lambda batch: min(1, 2 - 2 * batch / batches)) for one in optimizers]


def moving_average(kept: torch.Tensor, new: torch.Tensor, steps: torch.Tensor | int) -> torch.Tensor:
    """The average after another step; over a tenth of the first ones, so that it does not hold on to the beginning."""
    steps = torch.as_tensor(steps, device=kept.device)
    share = 1 - ((1 + steps) / (10 + steps)).clamp(max=AVERAGING)
    return torch.lerp(kept.float(), new.float(), share)


def latents(count: int, size: int, seed: int = LATENT_SEED) -> NDArray[np.float32]:
    """The same standard normal latents [count, size] for the same count and seed."""
    return np.random.default_rng(seed).standard_normal((count, size), np.float32)


@dataclass(frozen=True)
class GAN(ImageRecipe):
    """DCGAN generator of images."""

    epochs: int = 32
    """Passes over the training split."""
    learning_rate: float = 5e-4
    """Of both players, for the first half."""
    latent: int = 64
    """Size of the generator's input."""
    maps: int = 32
    """Feature maps of the widest layer that is not doubled."""
    judge: str = "cnn"
    """Trained classifier that judges the samples."""

    serves: ClassVar[tuple[str, ...]] = ("latent -> image",)
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mnist": {"epochs": 14, "batch_size": 64}}
    floors: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "digits": {"mean top probability": 0.85, "rarest class": 3.0},
        "mnist": {"mean top probability": 0.92, "rarest class": 5.0, "commonest class": 17.0},
    }
    # Between two draws of 1,000 latents fp32's own figures move by 0.01 and by 1.5 points.
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {
        "mean top probability": AllowedLoss(0.01),
        "rarest class": AllowedLoss(0.5),
    }

    def dataset(self) -> Images:
        """Images; a judge that is missing or knows other images is told now, not after the training."""
        judge = read_manifest(self.judge)
        if "accuracy" not in {metric["name"] for metric in judge["score"]}:
            raise ConchError(f"--judge {self.judge}: the judge must be a classifier, such as cnn or resnet")
        data = super().dataset()
        if judge["sha256"]["data"] != data.sha256:
            raise ConchError(
                f"--judge {self.judge}: it learnt from {judge['data']['name']}, and is to judge images like those of "
                f"{data.name}; train it first: conch train {self.judge} --data {self.data}"
            )
        return data

    def trainee(self, data: Images) -> GANTrainee:
        """Both players with their losses and optimizers."""
        return GANTrainee(self, data)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels]; a generator has no loss on held-out ones."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: GANTrainee, data: Images) -> list[Served]:
        """One endpoint: a latent to an image."""
        return [
            Served(
                name=self.name(),
                module=GeneratorEndpoint(trained.averaged.module).eval(),
                inputs=(Tensor("latent", "float32", ("batch", self.latent), low=-3, high=3),),
                outputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                examples={"latent": latents(EXAMPLES, self.latent)},
                calibration={"latent": latents(2 * EXAMPLES, self.latent, CALIBRATION_SEED)},
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """What the judge sees in 1,000 samples: how sure it is, how often the rarest and the commonest class come."""
        images = predict({"latent": latents(JUDGED_SAMPLES, self.latent)})["image"]
        judge = load_checkpoint(self.judge)
        endpoint = judge.recipe.served(judge.trained, judge.data)[0]
        probabilities = torch_predict(endpoint)({"image": images})["probabilities"]
        counts = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
        return [
            Metric("mean top probability", float(probabilities.max(1).mean())),
            Metric("rarest class", float(counts.min() / len(images) * 100), "%"),
            Metric("commonest class", float(counts.max() / len(images) * 100), "%", higher_is_better=False),
        ]

    def samples(self, predict: Predict, data: Images, path: Path) -> None:
        """A grid of 100 generated images."""
        grid(predict({"latent": latents(100, self.latent)})["image"], columns=20).save(path)

    def upstream(self) -> dict[str, str]:
        """The judge's weights decide the score."""
        return {self.judge: read_manifest(self.judge)["sha256"]["weights"]}
