"""Restricted Boltzmann machines and how they learn: what a network of one and one of several have in common.

Hinton, Training products of experts by minimizing contrastive divergence, 2002, and A practical guide to training
restricted Boltzmann machines, 2010.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class RestrictedBoltzmann(nn.Module):
    """Visible and hidden units of 0 and 1; each sees all of the other kind and none of its own."""

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(visible, hidden) * 0.01, requires_grad=False)
        self.visible = nn.Parameter(torch.zeros(visible), requires_grad=False)
        self.hidden = nn.Parameter(torch.zeros(hidden), requires_grad=False)

    def up(self, visible: torch.Tensor) -> torch.Tensor:
        """Probabilities [batch, hidden] that hidden units are 1."""
        return (visible @ self.weight + self.hidden).sigmoid()

    def down(self, hidden: torch.Tensor) -> torch.Tensor:
        """Probabilities [batch, visible] that visible units are 1."""
        return (hidden @ self.weight.T + self.visible).sigmoid()

    def free_energy(self, visible: torch.Tensor) -> torch.Tensor:
        """In nats, float32 [batch]: minus the logarithm of the probability, but for one constant."""
        return -(visible @ self.visible) - functional.softplus(visible @ self.weight + self.hidden).sum(1)


class Momentum:
    """Contrastive divergence of one step, with momentum and weight decay."""

    def __init__(self, momentum: float = 0.8, decay: float = 2e-4) -> None:
        self.momentum, self.decay = momentum, decay
        self.speeds: list[torch.Tensor] = []

    def step(self, machine: RestrictedBoltzmann, visible: torch.Tensor, rate: float) -> torch.Tensor:
        """Learn from probabilities or values [batch, visible]; the mean squared error of what comes back."""
        data = visible.bernoulli()
        hidden = machine.up(data)
        again = machine.down(hidden.bernoulli())
        dreamt = machine.up(again)
        rows = len(visible)
        changes = [
            (data.T @ hidden - again.T @ dreamt) / rows - self.decay * machine.weight,
            (data - again).mean(0),
            (hidden - dreamt).mean(0),
        ]
        self.speeds = self.speeds or [torch.zeros_like(change) for change in changes]
        for weights, speed, change in zip(machine.parameters(), self.speeds, changes, strict=True):
            weights.add_(speed.mul_(self.momentum).add_(change, alpha=rate))
        return functional.mse_loss(again, visible)
