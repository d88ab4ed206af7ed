"""Why there are skip connections: He et al., Deep residual learning for image recognition, 2015, figure 6.

Plain networks become worse with depth even on the data they are trained on, residual ones become better. The residual
network is the one that `training/recipes/resnet.py` ships; the plain one is the same, its blocks without their skip:
the same layers, parameters, initial weights, batches, optimiser, schedule and number of steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.bench.training.studies.study import Claim, Run, Study, Task, chosen, median
from training.data.images import Images
from training.recipes.resnet import Block, ResNet

PLAIN, RESIDUAL = "plain", "residual"
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Depth:
    """Settings of the study."""

    seeds: int = 3
    depths: tuple[int, ...] = (8, 20, 32, 56)
    images: int = 4000
    """Of the training split, evenly spread."""
    side: int = 14
    """Pixels; larger images are averaged down to it."""
    epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 0.1
    """Peak of the one-cycle schedule."""
    momentum: float = 0.9
    weight_decay: float = 1e-4


class PlainBlock(nn.Module):
    """What a residual block adds to its input, alone."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `Block`, without the skip connection."""
        y = self.block.conv1(functional.relu(self.block.norm1(x)))
        return self.block.conv2(functional.relu(self.block.norm2(y)))


def network(depth: int, variant: str, channels: int, classes: int) -> ResNet:
    """The shipped ResNet, or the same with plain blocks."""
    residual = ResNet(channels, classes, depth)
    if variant == PLAIN:
        residual.blocks = nn.Sequential(*(PlainBlock(block) for block in residual.blocks if isinstance(block, Block)))
    return residual


def study(data: Images, settings: Depth = Depth()) -> Study:
    """Every depth, plain and residual; a run's curve is the share of wrong answers in training, 0..1, over an epoch."""
    tasks = [
        Task(depth, variant, seed)
        for depth in settings.depths
        for variant in (PLAIN, RESIDUAL)
        for seed in range(settings.seeds)
    ]
    rows = np.linspace(0, len(data.train) - 1, min(settings.images, len(data.train))).astype(int)
    pixels = torch.from_numpy(data.train[rows]).permute(0, 3, 1, 2).float()
    inputs = functional.adaptive_avg_pool2d(pixels, settings.side) / 127.5 - 1
    labels = torch.from_numpy(data.train_labels[rows])
    return Study(settings, data.name, tasks, partial(_train, settings, inputs, labels), claims)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """What the paper's figure 6 says, held against the runs."""
    depths = [run.depth for run in runs]
    shallow, deep = min(depths), max(depths)
    found = []
    for variant, what in ((PLAIN, "worse"), (RESIDUAL, "better")):
        before, after = (median([run.error for run in chosen(runs, depth, variant)]) for depth in (shallow, deep))
        found.append(
            Claim(
                f"{variant} networks get {what} in training error from {shallow} to {deep} layers",
                f"median {before:.2%}, then {after:.2%}",
                after > before if variant == PLAIN else after < before,
            )
        )
    return found


def _train(settings: Depth, inputs: torch.Tensor, labels: torch.Tensor, task: Task) -> Run:
    torch.manual_seed(task.seed)
    trained = network(task.depth, task.variant, inputs.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.SGD(
        trained.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    steps = len(inputs) // settings.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps * settings.epochs
    )
    started = time.process_time()
    curve = []
    for _ in range(settings.epochs):
        wrong = 0
        for rows in torch.randperm(len(inputs))[: steps * settings.batch_size].split(settings.batch_size):
            optimizer.zero_grad()
            logits = trained(inputs[rows])
            functional.cross_entropy(logits, labels[rows]).backward()
            optimizer.step()
            schedule.step()
            wrong += int((logits.argmax(1) != labels[rows]).sum())
        curve.append(wrong / (steps * settings.batch_size))
    loss, error = _evaluate(trained, inputs, labels)
    return Run(task.depth, task.variant, task.seed, tuple(curve), loss, error, time.process_time() - started)


def _evaluate(trained: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Loss and error of all data in eval mode."""
    trained.eval()
    with torch.inference_mode():
        logits = torch.cat([trained(images) for images in inputs.split(EVALUATION_BATCH)])
    return float(functional.cross_entropy(logits, labels)), float((logits.argmax(1) != labels).double().mean())
