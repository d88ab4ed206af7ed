"""Why the weights of a ReLU network begin with variance 2/n: He et al., Delving deep into rectifiers, 2015.

Each ReLU halves the mean square of what goes through it. Weights of variance 2/n make up for that; with 1/n a signal is
2^(depth/2) times smaller at the end, and so is the gradient. The paper's figures 2 and 3 show what this does to
networks of 22 and 30 layers. Here they are fully connected, on 8x8 digits, with the paper's optimiser at a fixed rate
and nothing beside it: no normalisation, and no biases in the hidden layers, with which 30 layers of 1/n do learn a
little (18 to 31 % in 40 epochs).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from tests.bench.training.studies.study import Claim, Run, Study, Task, chosen, median

DEEP, DEEPER = 22, 30
GAINS = {"2/n": 2.0, "1/n": 1.0}
CLASSES = 10
LEARNT_LOSS = 1.5
"""Training loss, in nats, below which a network counts as converging; chance is ln 10 = 2.30."""
LEARNT_ACCURACY = 0.9
CHANCE_MARGIN = 0.02
"""How far above the share of the commonest class an accuracy still counts as chance."""


@dataclass(frozen=True)
class Initialisation:
    """Settings of the study."""

    seeds: int = 3
    epochs: int = 250
    width: int = 128
    """Units of a hidden layer."""
    learning_rate: float = 0.003
    momentum: float = 0.9
    batch_size: int = 64


def study(settings: Initialisation = Initialisation()) -> Study:
    """Both depths with both variances; a run's curve is the loss of all training data after each epoch."""
    tasks = [
        Task(depth, variant, seed) for depth in (DEEP, DEEPER) for variant in GAINS for seed in range(settings.seeds)
    ]
    return Study(settings, "digits", tasks, partial(_train, settings), claims)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """What the paper's figures 2 and 3 say, held against the runs."""
    he, xavier = ([epochs_to_learn(run) for run in chosen(runs, DEEP, variant)] for variant in GAINS)
    learnt, stuck = ([1 - run.error for run in chosen(runs, DEEPER, variant)] for variant in GAINS)
    chance = commonest_share()
    times = f"median {_epochs(median(he))} with 2/n, {_epochs(median(xavier))} with 1/n"
    return [
        Claim(
            f"{DEEP} layers converge faster with 2/n than with 1/n",
            f"epochs to a training loss below {LEARNT_LOSS:g}: {times}",
            median(he) < median(xavier),
        ),
        Claim(
            f"{DEEP} layers do converge with 1/n",
            f"{sum(map(math.isfinite, xavier))} of {len(xavier)} runs",
            math.isfinite(median(xavier)),
        ),
        Claim(
            f"{DEEPER} layers learn with 2/n",
            f"training accuracy: median {median(learnt):.1%}, worst {min(learnt):.1%}; {LEARNT_ACCURACY:.0%} required",
            median(learnt) >= LEARNT_ACCURACY,
        ),
        Claim(
            f"{DEEPER} layers do not learn at all with 1/n",
            f"training accuracy: median {median(stuck):.1%}, best {max(stuck):.1%}; the commonest class alone: "
            f"{chance:.1%}",
            max(stuck) <= chance + CHANCE_MARGIN,
        ),
    ]


def epochs_to_learn(run: Run) -> float:
    """The first epoch, from 1, after which the training loss is below `LEARNT_LOSS`; infinite where there is none."""
    return next((float(epoch) for epoch, loss in enumerate(run.curve, 1) if loss < LEARNT_LOSS), math.inf)


def commonest_share() -> float:
    """The accuracy of always answering the commonest class."""
    return float(digits()[1].bincount().max() / len(digits()[1]))


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's 1,797 digits: float32 [n, 64] of mean 0 and mean square 1, int64 [n]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.tensor(bunch.data, dtype=torch.float32)
    return (pixels - pixels.mean()) / pixels.std(), torch.tensor(bunch.target)


def rectifier_network(depth: int, width: int, gain: float, features: int) -> nn.Sequential:
    """`depth` linear layers, [batch, features] to logits [batch, 10]; all weights have variance `gain` / fan-in."""
    sizes = [features, *[width] * (depth - 1)]
    linear = [nn.Linear(below, above, bias=False) for below, above in pairwise(sizes)]
    head = nn.Linear(sizes[-1], CLASSES)
    nn.init.zeros_(head.bias)
    for layer in (*linear, head):
        nn.init.normal_(layer.weight, 0, math.sqrt(gain / layer.in_features))
    return nn.Sequential(*(part for layer in linear for part in (layer, nn.ReLU())), head)


def _train(settings: Initialisation, task: Task) -> Run:
    torch.manual_seed(task.seed)
    inputs, labels = digits()
    network = rectifier_network(task.depth, settings.width, GAINS[task.variant], inputs.shape[1])
    optimizer = torch.optim.SGD(network.parameters(), settings.learning_rate, settings.momentum, fused=True)
    started = time.process_time()
    curve = []
    for _ in range(settings.epochs):
        for rows in torch.randperm(len(inputs)).split(settings.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        with torch.inference_mode():
            logits = network(inputs)
        curve.append(float(functional.cross_entropy(logits, labels)))
    error = float((logits.argmax(1) != labels).double().mean())
    return Run(task.depth, task.variant, task.seed, tuple(curve), curve[-1], error, time.process_time() - started)


def _epochs(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "never"
