"""What autoencoders share whose code is looked at: loss, served graph, and the comparison with principal components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from training.data.batches import batches
from training.data.images import Images, spread
from training.image_code import image_decoder, image_encoder
from training.image_recipe import ImageRecipe
from training.loop.trainee import Trainee, one_cycle
from training.score import AllowedLoss, Metric, Predict
from training.served import Served
from training.tensors import Tensor

EXAMPLES = 64


class Coder(nn.Module):
    """Images to codes and back."""

    def __init__(self, height: int, width: int, channels: int, code: int) -> None:
        super().__init__()
        self.encoder = image_encoder(height, width, channels, code)
        self.decoder = image_decoder(height, width, channels, code)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 [batch, channels, height, width] in 0..1 to codes [batch, code] and images, unbounded."""
        code = self.encoder(images)
        return code, self.decoder(code)


class CodingEndpoint(nn.Module):
    """uint8 pixels in, their code and what is left of them in it out."""

    def __init__(self, coder: nn.Module) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [batch, height, width, channels] to float32 [batch, code] and the same as the input."""
        code, again = self.coder(image.permute(0, 3, 1, 2).float() / 255)
        pixels = (again.clamp(0, 1) * 255).round().to(torch.uint8)
        return code, pixels.permute(0, 2, 3, 1).contiguous()


class CodingTrainee(Trainee):
    """Squared error of what comes back, and what is asked of the code besides."""

    def __init__(self, coder: nn.Module, recipe: CodingRecipe) -> None:
        super().__init__()
        self.coder = coder
        self.recipe = recipe

    def penalty(self, code: torch.Tensor) -> torch.Tensor:
        """What the loss of codes [batch, code] has beside the squared error of a pixel; a scalar."""
        return code.new_zeros(())

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Loss of uint8 images [batch, height, width, channels]."""
        images = batch[0].permute(0, 3, 1, 2).float() / 255
        code, again = self.coder(images)
        error = functional.mse_loss(again, images)
        loss = error + self.penalty(code)
        self.log_mean({"train loss": loss, "squared error": error})
        return loss

    def configure_optimizers(self) -> Any:
        """Stepped once a batch."""
        return one_cycle(self, torch.optim.AdamW(self.parameters(), self.recipe.learning_rate))


def psnr(images: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of uint8 arrays of one shape."""
    return float(10 * np.log10(255**2 / np.square(images.astype(np.float64) - truth).mean()))


def by_principal_components(data: Images, components: int) -> NDArray[np.uint8]:
    """The held-out images from so many principal components of the training images."""
    from sklearn.decomposition import PCA

    flat = data.train.reshape(len(data.train), -1).astype(np.float64)
    found = PCA(components, random_state=0).fit(flat)
    again = found.inverse_transform(found.transform(data.held_out.reshape(len(data.held_out), -1)))
    return np.clip(np.rint(again), 0, 255).astype(np.uint8).reshape(data.held_out.shape)


@dataclass(frozen=True)
class CodingRecipe(ImageRecipe):
    """A recipe that turns images into codes and back."""

    epochs: int = 30
    """Passes over the training split."""
    code: int = 64
    """Numbers of a code."""

    serves: ClassVar[tuple[str, ...]] = ("image -> code, reconstruction",)
    allowed_loss: ClassVar[Mapping[str, AllowedLoss]] = {"PSNR over PCA": AllowedLoss(0.2)}

    def trainee(self, data: Images) -> CodingTrainee:
        """The network with its loss and optimizer."""
        return CodingTrainee(Coder(*data.shape, self.code), self)

    def loaders(self, data: Images) -> tuple[DataLoader[Any], None]:
        """uint8 images [batch, height, width, channels]."""
        return batches(data.train, size=self.batch_size, shuffle_seed=self.seed), None

    def served(self, trained: CodingTrainee, data: Images) -> list[Served]:
        """One endpoint: an image to its code, and to what the code says of it."""
        return [
            Served(
                name=self.name(),
                module=CodingEndpoint(trained.coder).eval(),
                inputs=(Tensor("image", "uint8", ("batch", *data.shape)),),
                outputs=(
                    Tensor("code", "float32", ("batch", self.code)),
                    Tensor("reconstruction", "uint8", ("batch", *data.shape)),
                ),
                examples={"image": data.held_out[:EXAMPLES]},
                calibration={"image": spread(data.train, 2 * EXAMPLES)},
                preparation=data.preparation,
            )
        ]

    def score(self, predict: Predict, data: Images) -> list[Metric]:
        """How much nearer held-out images come back than from as many principal components as numbers are in use.

        Of a sparse code those are the numbers of an image that are not 0, on average, rounded up.
        """
        found = predict({"image": data.held_out})
        active = float((found["code"] != 0).sum(1).mean())
        ours = psnr(found["reconstruction"], data.held_out)
        theirs = psnr(by_principal_components(data, int(np.ceil(active)) or 1), data.held_out)
        return [
            Metric("PSNR over PCA", ours - theirs, "dB"),
            Metric("PSNR", ours, "dB"),
            Metric("active numbers", active, higher_is_better=False),
        ]
