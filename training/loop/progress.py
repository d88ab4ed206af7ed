"""What a person sees of a run while it goes on, and how fast it went."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training.loop.overhead import EpochCallback

# Drawing takes milliseconds, as long as many a step.
REDRAWS_PER_SECOND = 4
LINE_SECONDS = 10.0


class Speed(EpochCallback):
    """Examples a second that went through training steps, all processes together, validation left out."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        """Of each whole epoch."""
        self._rows = 0
        self._began = self._latest = 0.0

    @property
    def now(self) -> float:
        """Of the epoch under way."""
        return self._rows / (self._latest - self._began) if self._latest > self._began else 0.0

    def typical(self) -> float | None:
        """The median of the epochs after the first, in which memory is allocated and code compiled; None before any."""
        return round(statistics.median(self.epochs[1:] or self.epochs), 1) if self.epochs else None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._rows, self._began = 0, time.perf_counter()
        self._latest = self._began

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        """Count the batch's rows."""
        first = batch[0] if isinstance(batch, list | tuple) else batch
        self._rows += len(first) * trainer.world_size
        if trainer.is_last_batch and pl_module.device.type == "cuda":
            torch.cuda.synchronize()  # the work is queued, not done
        self._latest = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch's figure."""
        self.epochs.append(self.now)

    def state_dict(self) -> dict[str, Any]:
        """The figures, for the state of the run."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the figures of the epochs before."""
        self.epochs = state_dict["epochs"]


class Watch(EpochCallback):
    """A bar where a terminal shows it, elsewhere a line every ten seconds or epoch, whichever is rarer."""

    def __init__(self, speed: Speed, console: Console) -> None:
        self.speed = speed
        self.console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._drawn = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a bar for the epoch."""
        if not self.console.is_terminal:
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"), console=self.console, auto_refresh=False,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("", shown="")
        self._bar.reset(self._task, total=int(trainer.num_training_batches))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw now and then."""
        if self._bar is not None and time.perf_counter() - self._drawn > 1 / REDRAWS_PER_SECOND:
            self._draw(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's metrics."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self._bar is not None:
            self._draw(trainer, int(trainer.num_training_batches))
        elif last or time.perf_counter() - self._drawn > LINE_SECONDS:
            self.console.print(f"{_epoch(trainer)}: {self._shown(trainer)}", highlight=False)
            self._drawn = time.perf_counter()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back, whatever ended the run."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, trainer: Trainer, steps: int) -> None:
        assert self._bar is not None
        self._bar.update(self._task, completed=steps, description=_epoch(trainer), shown=self._shown(trainer))
        self._bar.refresh()
        self._drawn = time.perf_counter()

    def _shown(self, trainer: Trainer) -> str:
        metrics = [f"{name} {float(value):.4g}" for name, value in trainer.progress_bar_metrics.items()]
        return ", ".join([*metrics, f"{self.speed.now:,.0f} examples/s"])


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
