"""ResNet-50 for images of 224x224, with random weights: the network that inference speed is usually told for.

He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2015, table 1, in the form called v1.5: the
stride of a bottleneck is on its 3x3 convolution and not on the first 1x1 (NVIDIA DeepLearningExamples, ResNet50 v1.5).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from training.recipe import Served, Tensor

SIDE, CLASSES = 224, 1000
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width of the bottlenecks, how many, and the stride of the first."""
EXPANSION = 4
# Mean and standard deviation of ImageNet's channels, of values from 0 to 255.
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# Random residual branches at full strength double the variance with every block, and fp16 ends at 65,504.
BRANCH = 0.2
# Spreads the random head's logits: all classes alike would hide a wrong answer.
HEAD = 20.0


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside the identity, or beside a 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.skip = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to [batch, 4 width, height / stride, width / stride]."""
        return torch.relu(self.branch(features) + self.skip(features))


class ResNet50(nn.Module):
    """Class probabilities [batch, 1000] float32 of images [batch, 224, 224, 3] uint8."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        layers.append(nn.MaxPool2d(3, 2, 1))
        channels = 64
        for width, count, stride in STAGES:
            for number in range(count):
                layers.append(Bottleneck(channels, width, stride if number == 0 else 1))
                channels = width * EXPANSION
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, CLASSES)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        nn.init.uniform_(self.head.weight, *(HEAD / channels**0.5 * sign for sign in (-1, 1)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Bottleneck):
                last = module.branch[-1]
                assert isinstance(last, nn.BatchNorm2d)
                nn.init.constant_(last.weight, BRANCH)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [batch, 224, 224, 3] to float32 [batch, 1000]."""
        pixels = (image.permute(0, 3, 1, 2).float() - self.mean.float()) / self.deviation.float()
        return torch.softmax(self.head(self.features(pixels).mean((2, 3))).float(), 1)


def served_resnet50(rows: int) -> Served:
    """The network as it is served, always with the same weights, and `rows` images of noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = ResNet50().eval()
    images = np.random.default_rng(0).integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)
    return Served(
        name="resnet50",
        module=module,
        inputs=(Tensor("image", "uint8", ("batch", SIDE, SIDE, 3)),),
        outputs=(Tensor("probabilities", "float32", ("batch", CLASSES)),),
        examples={"image": images},
        largest_batch=rows,
    )
