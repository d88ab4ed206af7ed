"""Train a recipe and leave its checkpoint."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import git_commit, package_versions, sha256_of_file, sha256_of_json
from conch.contracts.whole import whole_folder
from training.catalogue import SHIPPED, origin
from training.checkpoints.checkpoint import Checkpoint, describe_machine, write_weights
from training.checkpoints.drawing import draw_curves
from training.checkpoints.manifest import checkpoint_folder, how_to_score, state_file, unscored
from training.checkpoints.up_to_date import PACKAGES, fingerprint
from training.loop.epochs import run_epochs, told_apart
from training.loop.first_batch import try_first_batch
from training.loop.judging import WeightsKept, draw, forget_unscored, judge
from training.loop.run import Run
from training.loop.stopping import RunStopped, StopWhenAsked
from training.recipe import Recipe
from training.score import Metric


def train(
    recipe: Recipe,
    data: Any,
    hold_floors: bool = True,
    resume: bool = False,
    run: Run | None = None,
    trial: bool = True,
) -> tuple[Checkpoint, list[Metric]]:
    """Train, judge and write the checkpoint.

    A score below the recipe's floors never replaces a checkpoint, and one that fails loses no weights: they go to
    `<model>.below-floor` and `<model>.unscored` instead.

    Args:
        recipe: what to train.
        data: what its `dataset` gave.
        hold_floors: whether a score below the recipe's floors is an error.
        resume: go on with a run of the same settings that was interrupted.
        run: precision, devices and the like; of several processes this is the first, the others call `train_along`.
        trial: try loss, answers and score on one batch before the first epoch.

    Raises:
        ConchError: something does not fit, the folder cannot be written, the loss is not finite, a floor is missed, or
            the score fails.
        RunStopped: by SIGINT or SIGTERM. The state is kept and the checkpoint is the one before; or the new one,
            whole, where the signal came while it took its place.
    """
    state, stop = state_file(recipe.name()), StopWhenAsked()
    if resume and not state.exists() and unscored(recipe.name()):
        raise ConchError(f"--resume: all epochs are done, {how_to_score(recipe.name(), origin(type(recipe)))}")
    floors = recipe.floors.get(recipe.data, {}) if hold_floors else {}
    run = run or Run()
    with stop.listening():
        # Whether the folder can be written to is known now, not after the training.
        with whole_folder(checkpoint_folder(recipe.name())) as folder:
            manifest = _manifest(recipe, data, run)
            if trial:
                with told_apart(run, stop):
                    try_first_batch(recipe, data, run, floors)
                stop.check()
            checkpoint = _trained(recipe, data, manifest, resume, run, stop, folder)
            try:
                metrics = judge(checkpoint, folder, floors, stop.check)
            except WeightsKept:
                state.unlink(missing_ok=True)
                raise
            except RunStopped:
                forget_unscored(recipe.name())  # the state has these weights, too
                raise
        forget_unscored(recipe.name())
    state.unlink(missing_ok=True)
    return checkpoint, metrics


def _trained(
    recipe: Recipe, data: Any, manifest: dict[str, Any], resume: bool, run: Run, stop: StopWhenAsked, folder: Path
) -> Checkpoint:
    """Train, and write into `folder` all that needs no judgement."""
    started = time.perf_counter()
    outcome = run_epochs(recipe, data, state_file(recipe.name()), manifest["fingerprint"], resume, run, stop)
    manifest |= {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "training_seconds": round(time.perf_counter() - started, 2),
        "examples_per_second": outcome.examples_per_second,
    }
    manifest["sha256"]["weights"] = write_weights(outcome.trained, folder / "weights.safetensors")
    _write_history(outcome.rows, folder / "metrics.csv")
    draw("curves.png", folder, lambda path: draw_curves(folder / "metrics.csv", path))
    return Checkpoint(recipe, data, outcome.trained, manifest)


def train_along(recipe: Recipe, data: Any, resume: bool, run: Run) -> None:
    """Train as one of several processes that is not the first, and leave nothing.

    Raises:
        ConchError: as `train`.
    """
    run_epochs(recipe, data, state_file(recipe.name()), fingerprint(recipe, data, run), resume, run)


def _manifest(recipe: Recipe, data: Any, run: Run) -> dict[str, Any]:
    """What is known of the run besides its outcome.

    Raises:
        ConchError: a setting or a size of the data is nothing that JSON can hold.
    """
    manifest = {
        "format": 1,
        "recipe": recipe.name(),
        **({} if recipe.name() in SHIPPED else {"recipe_file": str(recipe.source().resolve())}),
        "description": (recipe.__doc__ or "").strip().splitlines()[0],
        "settings": recipe.settings(),
        "learns_by": recipe.learns_by,
        "data": {"name": data.name, "sha256": data.sha256, **data.describe()},
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
    try:
        json.dumps(manifest)
    except (TypeError, ValueError) as error:
        raise ConchError(
            f"{recipe.name()}: settings() of the recipe and describe() of its data are kept as JSON: {error}"
        ) from error
    return manifest


def _write_history(rows: list[dict[str, float]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
