"""Contract 2: the folder that training leaves and export reads, written whole or not at all.

artifacts/checkpoints/<model>/weights.safetensors   the trainee's state, never a pickle
                              manifest.json         recipe, settings, data, versions, metrics, hashes
                              metrics.csv           one row an epoch
                              curves.png            the same, drawn
                              samples.png           where there is something to look at
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import sha256_of_file
from training.catalogue import find_recipe
from training.checkpoints.manifest import checkpoint_folder, read_manifest
from training.recipe import Recipe

if TYPE_CHECKING:
    from lightning import LightningModule  # seconds, which an export without a training would wait for


@dataclass(frozen=True)
class Checkpoint:
    """A trained recipe, read back and checked."""

    recipe: Recipe
    data: Any
    trained: LightningModule
    manifest: dict[str, Any]


def write_weights(trained: LightningModule, path: Path) -> str:
    """Write the state of `trained` to `path`; its SHA-256."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in trained.state_dict().items()}
    try:
        save_file(state, path)
    except SafetensorError as error:  # it wraps the OSError of a full disk
        raise ConchError(f"cannot write {path}: {error}") from error
    path.chmod(0o644)
    return sha256_of_file(path)


def load_checkpoint(name_or_path: str, kept_as: str = "") -> Checkpoint:
    """Rebuild a recipe, its data and its trained network from the checkpoint folder.

    Args:
        name_or_path: a recipe as `find_recipe` takes it; the checkpoint is that of its name.
        kept_as: what stands behind the name where the checkpoint is not the recipe's accepted one.

    Raises:
        ConchError: missing, damaged or foreign weights, or a manifest that does not fit the recipe.
    """
    recipe_class = find_recipe(name_or_path)
    name = recipe_class.name() + kept_as
    manifest = read_manifest(name, name_or_path)
    try:
        recipe = recipe_class(**manifest["settings"])
    except (KeyError, TypeError) as error:
        raise ConchError(
            f"{checkpoint_folder(name)}/manifest.json does not fit the recipe ({error}); "
            f"train it again: conch train {name_or_path}"
        ) from error
    data = recipe.dataset()
    trained = recipe.trainee(data)
    _load_weights(trained, checkpoint_folder(name) / "weights.safetensors", manifest, name_or_path)
    return Checkpoint(recipe, data, trained.eval(), manifest)


def _load_weights(trained: LightningModule, path: Path, manifest: dict[str, Any], name: str) -> None:
    again = f"train it again: conch train {name}"
    try:
        found = sha256_of_file(path)
    except OSError as error:
        raise ConchError(f"{path} cannot be read: {error.strerror}; {again}") from error
    if found != manifest["sha256"]["weights"]:
        raise ConchError(f"{path} is damaged: its sha256 is {found[:12]}..., its manifest says "
                         f"{manifest['sha256']['weights'][:12]}...; {again}")  # fmt: skip
    try:
        trained.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        first_lines = " ".join(str(error).split()[:30])
        raise ConchError(f"{path} does not fit the recipe's network ({first_lines}); {again}") from error


def describe_machine() -> dict[str, Any]:
    """What the run ran on, for the manifest."""
    return {
        "cpu_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
