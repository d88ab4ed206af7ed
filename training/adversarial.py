"""What recipes share whose generator learns against a discriminator: the game, the average, and the judge.

Goodfellow and others, Generative adversarial nets, 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel

from conch.contracts.errors import ConchError
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.manifest import read_manifest
from training.data.images import Images
from training.image_recipe import ImageRecipe
from training.loop.trainee import Trainee
from training.predict import torch_predict

AVERAGING = 0.998  # share of the average that a step keeps; over the last 500 steps or so


class AdversarialTrainee(Trainee):
    """The two-player game with the hinge loss (Lim and Ye, 2017).

    The served generator is `averaged`, a moving average of the trained one (Yazıcı et al., 2019).
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, learning_rate: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = generator, discriminator
        self.learning_rate = learning_rate
        self.averaged = AveragedModel(self.generator, avg_fn=moving_average, use_buffers=True)

    def play(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        scores: Callable[[torch.Tensor], torch.Tensor],
        beside: torch.Tensor | None = None,
    ) -> None:
        """One step of each player.

        Args:
            real: images, as the discriminator takes them.
            fake: the generator's.
            scores: what the discriminator says of images, higher for real ones.
            beside: what the generator's loss has besides.
        """
        discriminator_optimizer, generator_optimizer = cast(list[LightningOptimizer], self.optimizers())
        real_scores, fake_scores = scores(real), scores(fake.detach())
        discriminator_loss = functional.relu(1 - real_scores).mean() + functional.relu(1 + fake_scores).mean()
        discriminator_optimizer.zero_grad()
        self.manual_backward(discriminator_loss)
        discriminator_optimizer.step()

        generator_loss = -scores(fake).mean()
        generator_optimizer.zero_grad()
        self.manual_backward(generator_loss if beside is None else generator_loss + beside)
        generator_optimizer.step()
        self.averaged.update_parameters(self.generator)
        for schedule in cast(list[LRScheduler], self.lr_schedulers()):
            schedule.step()
        self.log_mean({"discriminator loss": discriminator_loss, "generator loss": generator_loss})

    def configure_optimizers(self) -> Any:
        """Adam with the DCGAN paper's momentum, one for each player; the rate falls to 0 over the second half."""
        optimizers = [
            torch.optim.Adam(player.parameters(), self.learning_rate, betas=(0.5, 0.999))
            for player in (self.discriminator, self.generator)
        ]
        batches = int(self.trainer.estimated_stepping_batches)
        return optimizers, [LambdaLR(one, lambda batch: min(1, 2 - 2 * batch / batches)) for one in optimizers]


def moving_average(kept: torch.Tensor, new: torch.Tensor, steps: torch.Tensor | int) -> torch.Tensor:
    """The average after another step; over a tenth of the first ones, so that it does not hold on to the beginning."""
    steps = torch.as_tensor(steps, device=kept.device)
    share = 1 - ((1 + steps) / (10 + steps)).clamp(max=AVERAGING)
    return torch.lerp(kept.float(), new.float(), share)


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


def generator_body(latent: int, height: int, width: int, channels: int, maps: int) -> nn.Sequential:
    """DCGAN's generator: [batch, latent] to images [batch, channels, height, width] in -1..1, multiples of 4."""
    return nn.Sequential(
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


def discriminator_body(height: int, width: int, channels: int, maps: int) -> tuple[list[nn.Module], int]:
    """What a discriminator finds in images [batch, channels, height, width] in -1..1, and how many numbers that is.

    Spectral normalisation (Miyato et al., 2018) keeps its slope near 1 everywhere, so that it cannot run away from the
    generator.
    """
    layers = [
        spectral_norm(nn.Conv2d(channels, maps, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(maps, 2 * maps, 3, padding=1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(2 * maps, 2 * maps, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        BatchDeviation(),
        nn.Flatten(),
    ]
    return layers, (2 * maps + 1) * (height // 4) * (width // 4)


def to_signed(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, channels] to float32 [batch, channels, height, width] in -1..1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """Float32 [batch, channels, height, width] in -1..1 to uint8 [batch, height, width, channels]."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@dataclass(frozen=True)
class JudgedRecipe(ImageRecipe):
    """A recipe whose images are judged by a trained classifier."""

    judge: str = "cnn"
    """Trained classifier that judges the samples."""

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

    def judged(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The judge's probabilities [n, classes] of images [n, height, width, channels]."""
        judge = load_checkpoint(self.judge)
        endpoint = judge.recipe.served(judge.trained, judge.data)[0]
        return torch_predict(endpoint)({"image": images})["probabilities"]

    def upstream(self) -> dict[str, str]:
        """The judge's weights decide the score."""
        return {self.judge: read_manifest(self.judge)["sha256"]["weights"]}
