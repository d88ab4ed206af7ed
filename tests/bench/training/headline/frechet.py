"""Frechet distance of sets of features (Heusel et al., GANs trained by a two time-scale update rule, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from conch.contracts.errors import ConchError
from training.classifier import ClassifierTrainee, to_unit_range

BATCH = 500


class _Given(nn.Identity):
    """The metric asks for a module that makes features of images; ours are made already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Squared Frechet distance of the Gaussians fitted to features [n, size]; compare only for the same n.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), by torchmetrics, in double precision.
    """
    metric = FrechetInceptionDistance(feature=_Given(one.shape[1]))
    metric.update(torch.from_numpy(one).double(), real=True)
    metric.update(torch.from_numpy(other).double(), real=False)
    return float(metric.compute())


def features(trained: LightningModule, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a classifier's last linear layer sees of uint8 images [n, height, width, channels]: float32 [n, size].

    Raises:
        ConchError: the network is no classifier, or has no linear layer.
    """
    if not isinstance(trained, ClassifierTrainee):
        raise ConchError(f"features need a classifier, this is a {type(trained).__name__}")
    seen: list[torch.Tensor] = []
    with torch.inference_mode(), _watching(trained.network, seen):
        for start in range(0, len(images), BATCH):
            trained.network(to_unit_range(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH]))))
    return torch.cat(seen).numpy()


@contextmanager
def _watching(network: nn.Module, seen: list[torch.Tensor]) -> Iterator[None]:
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ConchError(f"{type(network).__name__} has no linear layer whose inputs could be features")
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    try:
        yield
    finally:
        hook.remove()
