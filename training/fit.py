"""Train a recipe and leave its checkpoint."""

from __future__ import annotations

import csv
import json
import logging
import math
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, RichProgressBar

from training.checkpoint import (
    Checkpoint,
    checkpoint_folder,
    describe_machine,
    read_manifest,
    whole_folder,
    write_weights,
)
from training.drawing import draw_curves
from training.errors import ConchError
from training.fingerprint import git_commit, package_versions, sha256_of_file, sha256_of_files, sha256_of_json
from training.predict import torch_predict
from training.recipe import Metric, Recipe, accepted

PACKAGES = ("torch", "lightning", "numpy", "scikit-learn", "pillow")


def fingerprint(recipe: Recipe, data: Any) -> str:
    """Hash of all that decides the weights: code, settings, data, upstream checkpoints and versions."""
    code = [*Path(__file__).parent.glob("*.py"), recipe.source()]
    return sha256_of_json(
        {
            "code": sha256_of_files(code),
            "settings": recipe.settings(),
            "data": data.sha256,
            "upstream": recipe.upstream(),
            "packages": package_versions(*PACKAGES),
        }
    )


def is_up_to_date(recipe: Recipe, data: Any) -> bool:
    """Whether the checkpoint at hand was made from just this recipe and its weights are unharmed."""
    folder = checkpoint_folder(recipe.name())
    try:
        manifest = read_manifest(recipe.name())
        unharmed = sha256_of_file(folder / "weights.safetensors") == manifest["sha256"]["weights"]
    except (ConchError, OSError, KeyError):
        return False
    return unharmed and manifest["fingerprint"] == fingerprint(recipe, data)


def train(recipe: Recipe, data: Any, hold_floors: bool = True) -> tuple[Checkpoint, list[Metric]]:
    """Train, judge and write the checkpoint.

    Args:
        recipe: what to train.
        data: what its `dataset` gave.
        hold_floors: whether a score below the recipe's floors is an error.

    A score below the recipe's floors never replaces a checkpoint: it goes to `<model>.below-floor` instead, so that
    neither the last good weights nor the work is lost.

    Raises:
        ConchError: the folder cannot be written, the loss is not finite, or a floor is missed.
    """
    name = recipe.name()
    floors = recipe.floors.get(recipe.data, {}) if hold_floors else {}
    with whole_folder(checkpoint_folder(name)) as folder:  # fails now, not after the training, where it cannot write
        started = time.perf_counter()
        trained, history = _fit(recipe, data)
        seconds = time.perf_counter() - started
        served = recipe.served(trained, data)[0]
        predict = torch_predict(served)
        metrics = recipe.score(predict, data)
        short = accepted(metrics, floors)
        manifest = {
            "format": 1,
            "recipe": name,
            "description": (recipe.__doc__ or "").strip().splitlines()[0],
            "settings": recipe.settings(),
            "data": {"name": data.name, "sha256": data.sha256, **data.describe()},
            "score": [vars(metric) | {"floor": floors.get(metric.name)} for metric in metrics],
            "parameters": sum(parameter.numel() for parameter in served.module.parameters()),
            "training_seconds": round(seconds, 2),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "fingerprint": fingerprint(recipe, data),
            "sha256": {
                "weights": write_weights(trained, folder / "weights.safetensors"),
                "data": data.sha256,
                "settings": sha256_of_json(recipe.settings()),
                "recipe": sha256_of_file(recipe.source()),
                **{f"checkpoint of {other}": digest for other, digest in recipe.upstream().items()},
            },
            "packages": package_versions(*PACKAGES),
            "git_commit": git_commit(),
            "machine": describe_machine(),
        }
        _write_history(history, folder / "metrics.csv")
        draw_curves(folder / "metrics.csv", folder / "curves.png")
        recipe.samples(predict, data, folder / "samples.png")
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        if short:
            rejected = folder.with_name(f"{name}.below-floor")
            with whole_folder(rejected) as kept:
                for file in folder.iterdir():
                    file.rename(kept / file.name)
            raise ConchError(
                f"{name}: {'; '.join(short)}. The weights are in {rejected}; train longer (--epochs), or take "
                "them as they are (--no-floors)"
            )
    return Checkpoint(recipe, data, trained, manifest), metrics


class History(Callback):
    """Keeps the metrics of each epoch and stops a run whose loss is no number."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch's row."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if broken:
            raise ConchError(
                f"{', '.join(broken)} is not finite after epoch {trainer.current_epoch + 1}; "
                "try a lower --learning-rate; no checkpoint was touched"
            )
        self.rows.append({"epoch": trainer.current_epoch} | row)


def _fit(recipe: Recipe, data: Any) -> tuple[LightningModule, list[dict[str, float]]]:
    _quiet_lightning()
    seed_everything(recipe.seed, verbose=False)
    trainee = recipe.trainee(data)
    train_batches, held_out_batches = recipe.loaders(data)
    history = History()
    trainer = Trainer(
        max_epochs=recipe.epochs,
        devices=1,
        callbacks=[RichProgressBar(), history],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(trainee, train_batches, held_out_batches)
    return trainee.cpu().eval(), history.rows


def _quiet_lightning() -> None:
    # Loaders gather whole batches from memory: worker processes, which Lightning asks for, would only slow them down.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # Lightning behind torch
    for logger in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)


def _write_history(rows: list[dict[str, float]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
