"""One batch before the first epoch, so that what does not fit is said in seconds and not after the last one.

A network that is thrown away takes one training step and looks at one held-out batch, by Lightning as in the run to
come; what is served answers a few examples; the score judges such answers. The random numbers are afterwards what they
were before, and the run begins with a network of its own: it ends with the very weights of a run without this.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.seed import isolate_rng
from lightning_utilities.core.apply_func import apply_to_collection
from torch.utils.data import DataLoader

from conch.contracts.errors import ConchError
from training.loop.epochs import quiet_lightning
from training.loop.faults import reason
from training.loop.judging import score_of
from training.loop.run import Run
from training.loop.trainee import GradientFree, LogMeans
from training.predict import judged_predict, run_module
from training.recipe import Recipe, accepted
from training.score import Predict
from training.served import Served
from training.tensors import Tensor

ROWS = 8  # enough for batch normalisation, and quick with any network


def try_first_batch(
    recipe: Recipe, data: Any, run: Run | None = None, floors: Mapping[str, float] | None = None
) -> None:
    """Try loss, answers and score of an untrained network of `recipe` on a few rows of `data`.

    Args:
        recipe: what is to be trained.
        data: what its `dataset` gave.
        run: precision and kind of device; one device is used, and no compiler.
        floors: by metric, which the score has to have.

    Raises:
        ConchError: something does not fit; one line says what, and what it met.
    """
    with isolate_rng(), _warnings_of_the_trial():
        quiet_lightning()
        seed_everything(recipe.seed, verbose=False)
        served = _tried_loss_and_answers(recipe, data, run or Run())
        with _told(recipe, "its score cannot be computed from such answers"):
            accepted(score_of(recipe, judged_predict(served, _repeating(served)), data), floors or {})


def _tried_loss_and_answers(recipe: Recipe, data: Any, run: Run) -> Served:
    """What is served first of a network that took one step."""
    try:
        trainee = _stepped(recipe, data, run)
    except ConchError as loss:
        # A wrong number of classes is said more plainly by what is served than by the loss.
        try:
            misfit = _misfit(recipe.served(recipe.trainee(data), data))
        except Exception:
            raise loss from loss.__cause__
        raise (ConchError(f"{recipe.name()}: {misfit}") if misfit else loss) from loss.__cause__
    with _told(recipe, "what it serves cannot answer its own examples"):
        served = recipe.served(trainee.cpu().eval(), data)
        if misfit := _misfit(served):
            raise ConchError(f"{recipe.name()}: {misfit}")
    return served[0]


def _stepped(recipe: Recipe, data: Any, run: Run) -> LightningModule:
    """An untrained network after one training step and one batch of validation."""
    try:
        return _fit_once(recipe, data, run, OneStep(), ROWS)
    except (ConchError, SIGTERMException):
        raise
    except Exception:  # not every network and loss takes a part of a batch
        step = OneStep()
        with _told(recipe, step):
            return _fit_once(recipe, data, run, step, None)


def _fit_once(recipe: Recipe, data: Any, run: Run, step: OneStep, rows: int | None) -> LightningModule:
    step.doing = "its network cannot be made"
    trainee = recipe.trainee(data)
    step.doing = "its loaders cannot be made"
    loaders = [_beginning(loader, rows) for loader in recipe.loaders(data)]
    step.doing = "its training cannot begin"
    trainer = Trainer(
        max_epochs=recipe.epochs,  # as in the run to come: schedules are made for its number of steps
        accelerator=run.device_kind(),
        devices=1,
        precision=run.precision,
        plugins=[LightningEnvironment()],
        callbacks=[LogMeans(), step],
        val_check_interval=1,  # steps
        limit_train_batches=1 if isinstance(trainee, GradientFree) else None,  # so that it concludes an epoch, too
        limit_val_batches=1,
        logger=False,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with suppress(Enough):
        trainer.fit(trainee, *loaders)
    return trainee


class Enough(Exception):
    """One batch of each split went through."""


class OneStep(Callback):
    """Ends a run after its first step and the validation behind it, and knows what was under way when it failed."""

    def __init__(self) -> None:
        self.doing = ""

    def __str__(self) -> str:
        return self.doing

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """A second step is none of ours: nothing is validated."""
        if batch_idx:
            raise Enough
        self.doing = f"a training step fails on a batch of {_shown(batch)}"

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: int) -> None:
        """Held-out data may be of other shapes."""
        self.doing = f"validation fails on a held-out batch of {_shown(batch)}"

    def on_validation_end(self, *_: Any) -> None:
        """After the module's own `on_validation_epoch_end`."""
        raise Enough

    def on_train_epoch_end(self, *_: Any) -> None:
        """An epoch of a single step without validation."""
        raise Enough


def _beginning(loader: Any, rows: int | None) -> Any:
    """The loader with no more than `rows` rows in each batch, where all tensors of a batch have as many."""
    if rows is None or not isinstance(loader, DataLoader):
        return loader
    shorter = copy.copy(loader)
    collate = loader.collate_fn
    shorter.collate_fn = lambda items: _few(collate(items), rows)
    return shorter


def _few(batch: Any, rows: int) -> Any:
    if len({len(tensor) if tensor.dim() else None for tensor in _tensors(batch)}) != 1:
        return batch
    return apply_to_collection(batch, torch.Tensor, lambda tensor: tensor[:rows].clone() if tensor.dim() else tensor)


def _tensors(batch: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    apply_to_collection(batch, torch.Tensor, found.append)
    return found


def _shown(values: Any) -> str:
    """As "uint8 [8, 28, 28, 1], int64 [8]"."""
    described = [f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}" for tensor in _tensors(values)]
    return ", ".join(described) or type(values).__name__


def _misfit(all_served: Iterable[Served]) -> str | None:
    """How the answers of what is served differ from what is declared, in one sentence; None where they do not."""
    for served in all_served:
        if missing := [tensor.name for tensor in served.inputs if tensor.name not in served.examples]:
            return f"{served.name} has no examples of {', '.join(missing)}; it has some of {', '.join(served.examples)}"
        examples = {tensor.name: served.examples[tensor.name][:ROWS] for tensor in served.inputs}
        for tensor in served.inputs:
            if not _fits(examples[tensor.name], tensor):
                return f"the examples of {served.name} are {_against(examples[tensor.name], tensor)}"
        answers = _answers(served, examples)
        if len(answers) != len(served.outputs):
            names = ", ".join(tensor.name for tensor in served.outputs)
            return f"{served.name} answers with {len(answers)} of {len(served.outputs)} declared tensors ({names})"
        rows = len(next(iter(examples.values())))
        for array, tensor in zip(answers, served.outputs, strict=True):
            if labels := _wrong_number_of_labels(served, array, tensor):
                return labels
            if not _fits(array, tensor, rows):
                return f"the answer of {served.name} to {rows} items is {_against(array, tensor)}"
    return None


def _answers(served: Served, examples: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the module answers to `examples`, in its order.

    Raises:
        TypeError: it answers something else than a tensor or several.
    """
    answer = run_module(served.module, (examples[tensor.name] for tensor in served.inputs))
    tensors = [answer] if isinstance(answer, torch.Tensor) else answer
    if not isinstance(tensors, list | tuple) or not all(isinstance(one, torch.Tensor) for one in tensors):
        raise TypeError(f"forward returns a {type(answer).__name__}, needed is a tensor or a tuple of tensors")
    return [tensor.numpy(force=True) for tensor in tensors]


def _wrong_number_of_labels(served: Served, array: np.ndarray, tensor: Tensor) -> str | None:
    labels = served.labels.get(tensor.name, ())
    if not labels or array.ndim != len(tensor.shape) or array.shape[-1] == len(labels):
        return None
    some = ", ".join(labels[:5]) + ", ..." * (len(labels) > 5)
    return (
        f"the network gives {array.shape[-1]} numbers an item, the data has {len(labels)} labels ({some}): "
        f"its last layer has to have as many outputs as there are labels, len(data.labels)"
    )


def _fits(array: np.ndarray, tensor: Tensor, rows: int | None = None) -> bool:
    return (
        array.dtype.name == tensor.dtype
        and array.ndim == len(tensor.shape)
        and all(isinstance(size, str) or size == found for size, found in zip(tensor.shape, array.shape, strict=True))
        and (rows is None or len(array) == rows)
    )


def _against(array: np.ndarray, tensor: Tensor) -> str:
    wanted = ", ".join(str(size) for size in tensor.shape)
    return f"{array.dtype.name} {list(array.shape)} as {tensor.name!r}, declared is {tensor.dtype} [{wanted}]"


def _repeating(served: Served) -> Predict:
    """Answers of the module to the first rows, again and again: right in shape and type, and soon there."""

    def predict(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        answers = _answers(served, {name: array[:ROWS] for name, array in inputs.items()})
        again = np.arange(rows) % min(rows, ROWS)
        return {tensor.name: array[again] for tensor, array in zip(served.outputs, answers, strict=True)}

    return predict


@contextmanager
def _told(recipe: Recipe, what: object) -> Iterator[None]:
    """Make one line of whatever a recipe's own code raises: what failed, why, and in which of its lines.

    Raises:
        ConchError: the recipe's own, as it is, or that line.
    """
    try:
        yield
    except (ConchError, SIGTERMException):
        raise
    except Exception as error:
        raise ConchError(
            f"{recipe.name()}: {what}: {reason(recipe, error)}; nothing was trained (--no-trial trains all the same)"
        ) from error


@contextmanager
def _warnings_of_the_trial() -> Iterator[None]:
    """None, for the run has its own; but a target that is broadcast to the answer's shape is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Using a target size")
        yield
