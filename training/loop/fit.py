"""Train a recipe and leave its checkpoint."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning import LightningModule

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import git_commit, package_versions, sha256_of_code, sha256_of_file, sha256_of_json
from conch.contracts.whole import whole_folder
from training.catalogue import SHIPPED
from training.checkpoints.checkpoint import Checkpoint, describe_machine, write_weights
from training.checkpoints.drawing import draw_curves
from training.checkpoints.manifest import checkpoint_folder, read_manifest
from training.loop.epochs import run_epochs
from training.loop.run import Run
from training.loop.stopping import StopWhenAsked
from training.predict import torch_predict
from training.recipe import Recipe, accepted
from training.score import Metric

DECIDES = (
    "clients/preparation.py",
    "training/checkpoints/checkpoint.py",
    "training/classifier.py",
    "training/data/augmentation.py",
    "training/data/batches.py",
    "training/data/download.py",
    "training/data/image_folder.py",
    "training/data/images.py",
    "training/data/public_data.py",
    "training/data/text.py",
    "training/image_recipe.py",
    "training/loop/epochs.py",
    "training/loop/fit.py",
    "training/loop/run.py",
    "training/loop/trainee.py",
    "training/predict.py",
    "training/recipe.py",
    "training/score.py",
    "training/served.py",
    "training/states.py",
    "training/tensors.py",
)
"""The code that decides what the weights and their score are, by path from the project's root. A test holds it against
the files there are: what is left out has to be named there, too."""
PACKAGES = ("torch", "lightning", "numpy", "scikit-learn", "pillow")


def fingerprint(recipe: Recipe, data: Any, run: Run | None = None) -> str:
    """Hash of all that decides the weights: code, settings, data, upstream checkpoints, versions and kind of run."""
    return sha256_of_json(
        {
            "code": sha256_of_code(DECIDES),
            "recipe": sha256_of_file(recipe.source()),
            "settings": recipe.settings(),
            "data": data.sha256,
            "upstream": recipe.upstream(),
            "packages": package_versions(*PACKAGES),
            **(run or Run()).decides(),
        }
    )


def is_up_to_date(recipe: Recipe, data: Any, run: Run | None = None) -> bool:
    """Whether the checkpoint at hand was made from just this recipe in such a run and its weights are unharmed."""
    folder = checkpoint_folder(recipe.name())
    try:
        manifest = read_manifest(recipe.name())
        unharmed = sha256_of_file(folder / "weights.safetensors") == manifest["sha256"]["weights"]
    except (ConchError, OSError, KeyError):
        return False
    return unharmed and manifest["fingerprint"] == fingerprint(recipe, data, run)


def train(
    recipe: Recipe, data: Any, hold_floors: bool = True, resume: bool = False, run: Run | None = None
) -> tuple[Checkpoint, list[Metric]]:
    """Train, judge and write the checkpoint.

    A score below the recipe's floors never replaces a checkpoint: it goes to `<model>.below-floor` instead, so that
    neither the last good weights nor the work is lost.

    Args:
        recipe: what to train.
        data: what its `dataset` gave.
        hold_floors: whether a score below the recipe's floors is an error.
        resume: go on with a run of the same settings that was interrupted.
        run: precision, devices and the like; of several processes this is the first, the others call `train_along`.

    Raises:
        ConchError: the folder cannot be written, the loss is not finite, or a floor is missed.
        RunStopped: by SIGINT or SIGTERM. The state is kept and the checkpoint is the one before; or the new one,
            whole, where the signal came while it took its place.
    """
    state, stop = _state(recipe), StopWhenAsked()
    with stop.listening():
        trained = _train(recipe, data, hold_floors, resume, run or Run(), stop)
    state.unlink(missing_ok=True)
    return trained


def _train(
    recipe: Recipe, data: Any, hold_floors: bool, resume: bool, run: Run, stop: StopWhenAsked
) -> tuple[Checkpoint, list[Metric]]:
    name, state = recipe.name(), _state(recipe)
    floors = recipe.floors.get(recipe.data, {}) if hold_floors else {}
    with whole_folder(checkpoint_folder(name)) as folder:  # fails now, not after the training, where it cannot write
        started = time.perf_counter()
        outcome = run_epochs(recipe, data, state, fingerprint(recipe, data, run), resume, run, stop)
        seconds = time.perf_counter() - started
        trained = outcome.trained
        predict = torch_predict(recipe.served(trained, data)[0])
        metrics = recipe.score(predict, data)
        stop.check()
        short = accepted(metrics, floors)
        manifest = _manifest(recipe, data, trained, run) | {
            "score": [vars(metric) | {"floor": floors.get(metric.name)} for metric in metrics],
            "training_seconds": round(seconds, 2),
            "examples_per_second": outcome.examples_per_second,
        }
        manifest["sha256"]["weights"] = write_weights(trained, folder / "weights.safetensors")
        _write_history(outcome.rows, folder / "metrics.csv")
        draw_curves(folder / "metrics.csv", folder / "curves.png")
        recipe.samples(predict, data, folder / "samples.png")
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        stop.check()  # the last place where the checkpoint before is untouched
        if short:
            rejected = _set_aside(folder, name)
            state.unlink(missing_ok=True)
            raise ConchError(
                f"{name}: {'; '.join(short)}. The weights are in {rejected}; train longer (--epochs), or take "
                "them as they are (--no-floors)"
            )
    return Checkpoint(recipe, data, trained, manifest), metrics


def train_along(recipe: Recipe, data: Any, resume: bool, run: Run) -> None:
    """Train as one of several processes that is not the first, and leave nothing.

    Raises:
        ConchError: as `train`.
    """
    run_epochs(recipe, data, _state(recipe), fingerprint(recipe, data, run), resume, run)


def _state(recipe: Recipe) -> Path:
    return checkpoint_folder(recipe.name()).with_name(f".{recipe.name()}.state")


def _manifest(recipe: Recipe, data: Any, trained: LightningModule, run: Run) -> dict[str, Any]:
    """What is known of the run besides its outcome."""
    module = recipe.served(trained, data)[0].module
    return {
        "format": 1,
        "recipe": recipe.name(),
        **({} if recipe.name() in SHIPPED else {"recipe_file": str(recipe.source().resolve())}),
        "description": (recipe.__doc__ or "").strip().splitlines()[0],
        "settings": recipe.settings(),
        "data": {"name": data.name, "sha256": data.sha256, **data.describe()},
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": fingerprint(recipe, data, run),
        "run": run.describe(),
        "sha256": {
            "data": data.sha256,
            "settings": sha256_of_json(recipe.settings()),
            "recipe": sha256_of_file(recipe.source()),
            **{f"checkpoint of {other}": digest for other, digest in recipe.upstream().items()},
        },
        "packages": package_versions(*PACKAGES),
        "git_commit": git_commit(),
        "machine": describe_machine(),
    }


def _set_aside(folder: Path, name: str) -> Path:
    rejected = checkpoint_folder(f"{name}.below-floor")
    with whole_folder(rejected) as kept:
        for file in folder.iterdir():
            file.rename(kept / file.name)
    return rejected


def _write_history(rows: list[dict[str, float]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
