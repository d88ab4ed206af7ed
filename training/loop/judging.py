"""Judge trained weights, and keep them whatever comes of it: below a floor, and where they could not be judged."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conch.contracts.errors import ConchError
from conch.contracts.whole import whole_folder, write_whole
from training.catalogue import find_recipe, origin
from training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from training.checkpoints.manifest import UNSCORED, checkpoint_folder, state_file, unscored
from training.loop.faults import reason
from training.predict import judged_predict, torch_predict
from training.recipe import Recipe, accepted
from training.score import Metric, Predict

log = logging.getLogger(__name__)


class WeightsKept(ConchError):
    """The weights are not the recipe's checkpoint; they lie in a folder that the message names."""


def score_of(recipe: Recipe, predict: Predict, data: Any) -> list[Metric]:
    """What the recipe's score says of `predict`.

    Raises:
        TypeError: it says something else than one or more metrics; and whatever the recipe's own code raises.
    """
    metrics = recipe.score(predict, data)
    if not isinstance(metrics, list | tuple) or not metrics or not all(isinstance(one, Metric) for one in metrics):
        raise TypeError(f"score returns {str(metrics)[:60]}, needed is a list of one or more Metric")
    return list(metrics)


def judge(
    checkpoint: Checkpoint, folder: Path, floors: Mapping[str, float], stop: Callable[[], None] = lambda: None
) -> list[Metric]:
    """Score what is in `folder` but for its manifest and samples, and write these.

    A copy is in `<model>.unscored` while the score is computed, and stays there where it fails or takes the process
    with it; it is for the caller to remove once the checkpoint is in its place. Weights below a floor go to
    `<model>.below-floor`. So neither the last good weights nor the work is lost.

    Args:
        checkpoint: with what is known of the run in its manifest; score and size of what is served are added.
        folder: where the checkpoint is being written.
        floors: by metric, what is held.
        stop: raises where the run was asked to stop; called where nothing is half done.

    Raises:
        WeightsKept: a floor is missed, or the score cannot be computed.
    """
    recipe, data, manifest = checkpoint.recipe, checkpoint.data, checkpoint.manifest
    name, unjudged = recipe.name(), manifest | {"score": []}
    kept = _keep(folder, unjudged | {"score_missing": "the process ended while it was scored"}, name + UNSCORED)
    try:
        served = recipe.served(checkpoint.trained, data)[0]
        predict = judged_predict(served, torch_predict(served))
        metrics = score_of(recipe, predict, data)
        short = accepted(metrics, floors)
    except Exception as error:
        stop()
        why = str(error) if isinstance(error, ConchError) else reason(recipe, error)
        write_whole(kept / "manifest.json", _text(unjudged | {"score_missing": why}))
        raise WeightsKept(
            f"{name}: its score cannot be computed: {why}. The trained weights are in {kept}; mend the recipe's score, "
            f"then: conch train {origin(type(recipe))} --score-only"
        ) from error
    stop()
    manifest.pop("score_missing", None)
    manifest["parameters"] = sum(parameter.numel() for parameter in served.module.parameters())
    manifest["score"] = [vars(metric) | {"floor": floors.get(metric.name)} for metric in metrics]
    draw("samples.png", folder, lambda path: recipe.picture(checkpoint.trained, predict, data, path))
    (folder / "manifest.json").write_bytes(_text(manifest))
    stop()  # the last place where the checkpoint before is untouched
    if short:
        rejected = _keep(folder, manifest, f"{name}.below-floor")
        shutil.rmtree(kept)
        raise WeightsKept(
            f"{name}: {'; '.join(short)}. The weights are in {rejected}; train longer (--epochs), or take "
            "them as they are (--no-floors)"
        )
    return metrics


def score_kept(name_or_path: str, hold_floors: bool = True) -> tuple[Checkpoint, list[Metric]]:
    """Score the weights in `<model>.unscored`, by the settings of their run, and make them the checkpoint.

    Args:
        name_or_path: a recipe as `find_recipe` takes it, its score mended.
        hold_floors: whether a score below the recipe's floors is an error.

    Raises:
        ConchError: there are no such weights, they do not fit the recipe, or as `judge`.
    """
    name = find_recipe(name_or_path).name()
    if unscored(name) is None:
        raise ConchError(
            f"--score-only: no weights of {name} wait for their score in {checkpoint_folder(name + UNSCORED)}; "
            f"train: conch train {name_or_path}"
        )
    checkpoint = load_checkpoint(name_or_path, UNSCORED)
    recipe = checkpoint.recipe
    floors = recipe.floors.get(recipe.data, {}) if hold_floors else {}
    with whole_folder(checkpoint_folder(name)) as folder:
        shutil.copytree(checkpoint_folder(name + UNSCORED), folder, dirs_exist_ok=True)
        metrics = judge(checkpoint, folder, floors)
    forget_unscored(name)
    state_file(name).unlink(missing_ok=True)  # where the score took the process with it
    return checkpoint, metrics


def forget_unscored(name: str) -> None:
    """Remove the copy of a recipe's weights that waited for their score."""
    shutil.rmtree(checkpoint_folder(name + UNSCORED), ignore_errors=True)


def _keep(folder: Path, manifest: Mapping[str, Any], name: str) -> Path:
    """Make a copy of what is in `folder`, with this manifest, the checkpoint folder `name`, and say where that is."""
    kept = checkpoint_folder(name)
    with whole_folder(kept) as place:
        shutil.copytree(folder, place, dirs_exist_ok=True)
        (place / "manifest.json").write_bytes(_text(manifest))
    return kept


def draw(name: str, folder: Path, drawing: Callable[[Path], None]) -> None:
    """Draw a picture into `folder`; one that cannot be drawn is no reason to lose weights."""
    try:
        drawing(folder / name)
    except Exception as error:
        (folder / name).unlink(missing_ok=True)
        log.warning("%s was not drawn (%s: %s)", name, type(error).__name__, error)


def _text(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2) + "\n").encode()
