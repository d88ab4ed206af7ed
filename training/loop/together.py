"""Several of Lightning's callbacks as one, because each of them costs time at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class Together(Callback):
    """Passes on the hooks that the callbacks of this package use, in their order.

    Lightning calls every callback at each of some ten hooks a step, whether it defines the hook or not; for seven
    callbacks that took a twentieth of LeNet-5's step.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)
        batch_end = Callback.on_train_batch_end
        self._each_step = [one for one in callbacks if type(one).on_train_batch_end is not batch_end]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass it on."""
        for one in self.callbacks:
            one.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass it on to those that use it."""
        for one in self._each_step:
            one.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass it on."""
        for one in self.callbacks:
            one.on_train_epoch_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Pass it on."""
        for one in self.callbacks:
            one.on_save_checkpoint(trainer, pl_module, checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Pass it on."""
        for one in self.callbacks:
            one.teardown(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """The state of each that has one, by its class."""
        return {type(one).__name__: state for one in self.callbacks if (state := one.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each its state back."""
        for one in self.callbacks:
            if type(one).__name__ in state_dict:
                one.load_state_dict(state_dict[type(one).__name__])
