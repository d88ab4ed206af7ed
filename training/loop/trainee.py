"""LightningModules whose training steps log cheaply, by gradients and without."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from training.loop.overhead import EpochCallback


class Trainee(LightningModule):
    """Keeps the sums of what its training steps log; `LogMeans` logs their means at the end of each epoch.

    Lightning's own `log(..., on_epoch=True)` costs as much a step as a quarter of LeNet-5's forward and backward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, torch.Tensor] = {}
        self._steps = 0

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the signature of the training step, which Lightning asks for at each one."""
        super().__init_subclass__(**options)
        if step := cls.__dict__.get("training_step"):
            step.__signature__ = inspect.signature(step)

    def __setattr__(self, name: str, value: Any) -> None:
        """As any module's, but for the name of the hook under way, which Lightning sets some fifty times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def log_mean(self, values: dict[str, torch.Tensor]) -> None:
        """Scalars of a training step by name; to be called once a step, always with the same names."""
        detached = {name: value.detach().float() for name, value in values.items()}
        self._sums = {name: self._sums[name] + value for name, value in detached.items()} if self._steps else detached
        self._steps += 1

    def take_means(self) -> dict[str, torch.Tensor]:
        """The means since they were taken last."""
        means = {name: total / self._steps for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        return means


def one_cycle(trainee: LightningModule, optimizer: Optimizer) -> Any:
    """What `configure_optimizers` returns: the rate rises to that of `optimizer` and falls to almost nothing.

    Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates, 2018. Stepped
    once a batch.
    """
    steps = max(2, int(trainee.trainer.estimated_stepping_batches))
    schedule = OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], total_steps=steps)
    return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class GradientFree(Trainee):
    """Learns by a rule of its own: `learn` takes each batch, `conclude` ends each epoch. No gradient, no optimizer.

    What it changes are its parameters and buffers. They are the state of the run, so that progress, resume and the
    check for what is no number are those of any other. What is gathered on the way of one epoch is an attribute, and
    `conclude` empties it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @abstractmethod
    def learn(self, batch: Any) -> dict[str, torch.Tensor]:
        """Take a batch; scalars to log by name, whose means an epoch shows."""

    def conclude(self) -> dict[str, torch.Tensor]:
        """End an epoch; scalars to log beside those of `learn`."""
        return {}

    def training_step(self, batch: Any, _: int) -> None:
        """Learn, whatever the precision of the run: sums over all data are no place for 16 bits."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            self.log_mean(self.learn(batch))
            if self.trainer.is_last_batch:  # callbacks keep the state before the module's own end of an epoch
                self.log_dict(self.conclude(), on_step=False, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> None:
        """None."""


class LogMeans(EpochCallback):
    """Logs a `Trainee`'s means before other callbacks read the epoch's metrics; leaves other modules alone."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what an interrupted epoch left."""
        if isinstance(pl_module, Trainee):
            pl_module.take_means()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them."""
        if isinstance(pl_module, Trainee):
            means: dict[str, Any] = pl_module.take_means()
            pl_module.log_dict(means, prog_bar=True)
