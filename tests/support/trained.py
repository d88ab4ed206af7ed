"""Recipes, trained. The shipped ones at small size: real weights that are not good, only quick to make."""

import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

from filelock import FileLock

from conch import PROJECT
from conch.contracts.fingerprint import sha256_of_code, sha256_of_json
from export.publication.pipeline import export_checkpoint
from training.catalogue import find_recipe
from training.checkpoints.checkpoint import Checkpoint, load_checkpoint
from training.loop.fit import train
from training.recipe import Recipe
from training.recipes.autoencoder import Autoencoder
from training.recipes.cnn import CNN
from training.recipes.gan import GAN
from training.recipes.lstm import LSTM
from training.recipes.resnet import ResNetRecipe

SMALL: dict[str, Recipe] = {
    "cnn": CNN(epochs=4),
    "resnet": ResNetRecipe(epochs=1, depth=8),
    "lstm": LSTM(epochs=1, width=48),
    "autoencoder": Autoencoder(epochs=2),
    "gan": GAN(epochs=1, maps=8),
}
STAGES = ("clients", "conch", "export", "serving", "training")
NEEDS = {"gan": ("cnn",)}
"""Whose checkpoint reads another one: the judge of the digits."""


def code() -> str:
    """What `train_and_export` is made of, as a hash: every file of the stages that make it, and what is installed."""
    files = [file for stage in STAGES for file in (PROJECT / stage).rglob("*.py")]
    installed = sorted(f"{package.name} {package.version}" for package in distributions())
    parts = sha256_of_code(
        [*(str(file.relative_to(PROJECT)) for file in files), str(Path(__file__).relative_to(PROJECT))]
    )
    return sha256_of_json({"code": parts, "installed": installed, "python": sys.version})[:16]


def train_recipe(path: Path) -> Checkpoint:
    """The checkpoint of the recipe in the file, trained with its own settings."""
    recipe = find_recipe(str(path))()
    train(recipe, recipe.dataset())
    return load_checkpoint(str(path))


def train_and_export(artifacts: Path, *, backwards: bool = False) -> None:
    """The demo's first two steps at small size; `CONCH_ARTIFACTS` names `artifacts`.

    Two processes that call this at once make half of the models each, for one starts from the other end; both return
    when all are made.
    """
    for name in reversed(SMALL) if backwards else SMALL:
        _make(name, artifacts)


def _make(name: str, artifacts: Path) -> None:
    for needed in NEEDS.get(name, ()):
        _make(needed, artifacts)
    made = artifacts.with_name(f"{name}.made")
    with FileLock(made.with_suffix(".lock")):
        if made.exists():
            return
        for left in (artifacts / "checkpoints" / name, *(artifacts / "models").glob(f"{name}*")):
            shutil.rmtree(left, ignore_errors=True)  # of one that was interrupted
        recipe = SMALL[name]
        train(recipe, recipe.dataset(), hold_floors=False)
        for exported in export_checkpoint(load_checkpoint(name)):
            assert exported.version == artifacts / "models" / exported.served.name / "1"
        made.touch()
