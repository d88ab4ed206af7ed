"""Run a recipe's epochs with Lightning's Trainer, so that a killed run goes on where it was.

After every epoch the whole state (weights, optimizers, schedules, metrics) is put beside the checkpoints, and every
epoch begins with random numbers of its own, drawn from seed and epoch alone. A run that was killed at any moment and
goes on from that state therefore ends with the very weights of one that was not.

Where several processes train, each runs this and takes its share of every epoch's batches; gradients are averaged by
PyTorch's DistributedDataParallel (Li et al., 2020).
"""

from __future__ import annotations

import logging
import math
import pickle
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from conch.command_line import OUT
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from training.data.batches import ShuffledBatches
from training.loop.overhead import EpochCallback, NoProfiler
from training.loop.processes import PeerLost, is_torchrun, lost_a_peer, rank
from training.loop.progress import Speed, Watch
from training.loop.run import Run
from training.loop.stopping import RunStopped, StopWhenAsked
from training.loop.trainee import LogMeans
from training.recipe import GRADIENT_DESCENT, Recipe

Rows = list[dict[str, float]]


class Outcome(NamedTuple):
    """What a run ends with."""

    trained: LightningModule
    """On the CPU, in eval mode."""
    rows: Rows
    """Metrics of each epoch."""
    examples_per_second: float | None
    """Median of the epochs after the first, all processes together; None where no epoch was left to train."""


def run_epochs(
    recipe: Recipe,
    data: Any,
    state: Path,
    fingerprint: str,
    resume: bool,
    run: Run | None = None,
    stop: StopWhenAsked | None = None,
) -> Outcome:
    """Train from the beginning, or from `state` on.

    Args:
        recipe: what to train.
        data: what its `dataset` gave.
        state: where the state of the run is kept from epoch to epoch.
        fingerprint: of all that decides the weights; a state of another one is not gone on from.
        resume: go on from `state` where there is one.
        run: precision, devices and the like.
        stop: what remembers the signals of a caller that listens before and after the epochs, too.

    Raises:
        ConchError: a metric is not finite, the state cannot be written, it is of another run, or the network cannot
            be compiled.
        PeerLost: another process that trained along ended.
        RunStopped: by SIGINT or SIGTERM, whenever it came; the state of the last whole epoch is kept.
    """
    run = run or Run()
    quiet_lightning()
    resumed = state if resume and state.is_file() else None
    seed_everything(recipe.seed, verbose=False)
    trainee = recipe.trainee(data)
    if run.processes > 1 and recipe.learns_by != GRADIENT_DESCENT:
        raise ConchError(
            f"{recipe.name()} learns by {recipe.learns_by}: several processes share gradients and nothing else; train "
            "it with --devices 1 --nodes 1"
        )
    train_batches, held_out_batches = recipe.loaders(data)
    sampler = train_batches.sampler
    if resumed:
        epochs_done = _check_state(resumed, fingerprint)
        # Lightning fetches the first batch before it tells the sampler which epoch it resumes.
        if isinstance(sampler, ShuffledBatches):
            sampler.set_epoch(epochs_done)
    history, stop, speed = History(recipe), stop or StopWhenAsked(), Speed()
    keep = KeepState(state, fingerprint)
    watch = [Watch(speed, OUT)] if rank() == 0 else []
    callbacks: list[Callback] = [SeedEachEpoch(recipe.seed), speed, LogMeans(), *watch, history, keep, stop]
    trainer = _trainer(recipe, run, trainee, callbacks)
    if run.processes > 1:
        if not isinstance(sampler, ShuffledBatches):
            raise ConchError(
                f"{recipe.name()}: only loaders of training.data.batches can be shared by several processes"
            )
        sampler.share(trainer.global_rank, trainer.world_size)
    if run.compile:
        for part in trainee.children():
            part.compile()
    with stop.listening(), told_apart(run, stop):
        trainer.fit(trainee, train_batches, held_out_batches, ckpt_path=resumed, weights_only=True)
    if run.compile:  # a module cannot be uncompiled, and what is compiled is for the batches of training
        plain = recipe.trainee(data)
        plain.load_state_dict(trainee.state_dict())
        trainee = plain
    return Outcome(trainee.cpu().eval(), history.rows, speed.typical())


def _trainer(recipe: Recipe, run: Run, trainee: LightningModule, callbacks: list[Callback]) -> Trainer:
    strategy = "auto"
    if run.processes > 1:
        # Where a module steps several optimizers itself, no backward pass reaches all of its weights.
        strategy = "ddp" if trainee.automatic_optimization else "ddp_find_unused_parameters_true"
    try:
        return Trainer(
            max_epochs=recipe.epochs,
            accelerator=run.device_kind(),
            devices=run.devices,
            num_nodes=run.nodes,
            strategy=strategy,
            precision=run.precision,
            plugins=[] if is_torchrun() else [LightningEnvironment()],
            callbacks=callbacks,
            logger=_tensorboard(recipe) if run.tensorboard else False,
            use_distributed_sampler=False,  # the batches share themselves
            profiler=NoProfiler(),
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except ValueError as error:  # torchrun started another number of processes than the flags say
        raise ConchError(f"--devices {run.devices} --nodes {run.nodes}: {error}") from error


def _tensorboard(recipe: Recipe) -> TensorBoardLogger:
    logger = TensorBoardLogger(artifacts_folder() / "tensorboard", recipe.name(), default_hp_metric=False)
    try:
        logger.log_hyperparams(recipe.settings())
    except OSError as error:
        raise ConchError(f"--tensorboard: cannot write to {logger.log_dir}: {error.strerror}") from error
    return logger


@contextmanager
def told_apart(run: Run, stop: StopWhenAsked) -> Iterator[None]:
    """Say of an error that is not the recipe's own what it is."""
    try:
        yield
    except SIGTERMException as error:  # Lightning's own, between batches: a SystemExit whose exit code is 0
        raise RunStopped(signal.SIGTERM) from error
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConchError(f"--compile: torch.compile fails ({reason}); train without it") from error
    except RuntimeError as error:
        if run.processes == 1 or not lost_a_peer(error):
            raise
        if stop.asked:
            raise RunStopped(stop.asked[0]) from error
        raise PeerLost("another process of this run ended, so this one cannot go on") from error


class SeedEachEpoch(EpochCallback):
    """Random numbers that depend on seed and epoch alone, not on what was drawn before."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed augmentation, noise and dropout of the epoch; each process draws others."""
        torch.manual_seed(self.seed * 1_000_003 + trainer.current_epoch + trainer.global_rank * 1_000_000_007)


class History(EpochCallback):
    """Keeps the metrics of each epoch and stops a run with a loss or a weight that is no number."""

    def __init__(self, recipe: Recipe) -> None:
        self.rows: Rows = []
        self.advice = "try a lower --learning-rate; " if "learning_rate" in recipe.settings() else ""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch's row."""
        # Each process knows the loss of its own share only.
        row = {
            name: float(trainer.strategy.reduce(value.detach().double(), reduce_op="mean"))
            for name, value in trainer.callback_metrics.items()
        }
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        broken = broken or [name for name, tensor in pl_module.state_dict().items() if not tensor.isfinite().all()][:3]
        if broken and trainer.is_global_zero:
            raise ConchError(
                f"{', '.join(broken)} is not finite after epoch {trainer.current_epoch + 1}; "
                f"{self.advice}no checkpoint was touched"
            )
        self.rows.append({"epoch": trainer.current_epoch} | row)

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the state of the run."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of the epochs before."""
        self.rows = state_dict["rows"]


class KeepState(EpochCallback):
    """Writes the state of the run after each epoch, whole or not at all."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in the state what it is the state of."""
        checkpoint["fingerprint"] = self.fingerprint

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write beside and rename: a kill in the middle leaves the state before."""
        beside = self.path.with_suffix(".writing")
        try:
            trainer.save_checkpoint(beside)  # all processes meet here, the first writes
            if trainer.is_global_zero:
                beside.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch raises a RuntimeError for a full disk
            beside.unlink(missing_ok=True)
            raise ConchError(f"cannot write {self.path}: {error}") from error


def _check_state(state: Path, fingerprint: str) -> int:
    """How many epochs the state has behind it."""
    try:
        content = torch.load(state, weights_only=True, map_location="cpu")
        found, epochs_done = content["fingerprint"], int(content["epoch"]) + 1
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise ConchError(f"{state} is damaged ({type(error).__name__}); start again without --resume") from error
    if found != fingerprint:
        raise ConchError(
            f"{state} is of a run with other settings, data, code or versions; start again without --resume"
        )
    return epochs_done


def quiet_lightning() -> None:
    """Leave out what Lightning says of every run and is not so here."""
    # Loaders gather whole batches from memory: worker processes, which Lightning asks for, would only slow them down.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*this fit will run with no optimizer.*")  # so says `GradientFree`
    warnings.filterwarnings("ignore", message=".*number of training batches.*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides.*")  # of 1-channel kernels
    # Every process sees all held-out batches, and `History` averages.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # Lightning behind torch
    for logger in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)
