"""Train a recipe and leave its checkpoint."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning import LightningModule

from training.checkpoint import (
    Checkpoint,
    checkpoint_folder,
    describe_machine,
    read_manifest,
    whole_folder,
    write_weights,
)
from training.drawing import draw_curves
from training.epochs import run_epochs
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


def train(recipe: Recipe, data: Any, hold_floors: bool = True, resume: bool = False) -> tuple[Checkpoint, list[Metric]]:
    """Train, judge and write the checkpoint.

    A score below the recipe's floors never replaces a checkpoint: it goes to `<model>.below-floor` instead, so that
    neither the last good weights nor the work is lost.

    Args:
        recipe: what to train.
        data: what its `dataset` gave.
        hold_floors: whether a score below the recipe's floors is an error.
        resume: go on with a run of the same settings that was interrupted.

    Raises:
        ConchError: the folder cannot be written, the loss is not finite, or a floor is missed.
    """
    name = recipe.name()
    floors = recipe.floors.get(recipe.data, {}) if hold_floors else {}
    state = checkpoint_folder(name).with_name(f".{name}.state")
    with whole_folder(checkpoint_folder(name)) as folder:  # fails now, not after the training, where it cannot write
        started = time.perf_counter()
        trained, history = run_epochs(recipe, data, state, fingerprint(recipe, data), resume)
        seconds = time.perf_counter() - started
        predict = torch_predict(recipe.served(trained, data)[0])
        metrics = recipe.score(predict, data)
        short = accepted(metrics, floors)
        manifest = _manifest(recipe, data, trained) | {
            "score": [vars(metric) | {"floor": floors.get(metric.name)} for metric in metrics],
            "training_seconds": round(seconds, 2),
        }
        manifest["sha256"]["weights"] = write_weights(trained, folder / "weights.safetensors")
        _write_history(history, folder / "metrics.csv")
        draw_curves(folder / "metrics.csv", folder / "curves.png")
        recipe.samples(predict, data, folder / "samples.png")
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        if short:
            rejected = _set_aside(folder, name)
            state.unlink(missing_ok=True)
            raise ConchError(
                f"{name}: {'; '.join(short)}. The weights are in {rejected}; train longer (--epochs), or take "
                "them as they are (--no-floors)"
            )
    state.unlink(missing_ok=True)
    return Checkpoint(recipe, data, trained, manifest), metrics


def _manifest(recipe: Recipe, data: Any, trained: LightningModule) -> dict[str, Any]:
    """What is known of the run besides its outcome."""
    module = recipe.served(trained, data)[0].module
    return {
        "format": 1,
        "recipe": recipe.name(),
        "description": (recipe.__doc__ or "").strip().splitlines()[0],
        "settings": recipe.settings(),
        "data": {"name": data.name, "sha256": data.sha256, **data.describe()},
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": fingerprint(recipe, data),
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
    rejected = folder.with_name(f"{name}.below-floor")
    with whole_folder(rejected) as kept:
        for file in folder.iterdir():
            file.rename(kept / file.name)
    return rejected


def _write_history(rows: list[dict[str, float]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
