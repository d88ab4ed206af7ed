"""Whether a checkpoint would come out the same if it were trained again; without Lightning, for an export asks, too."""

from __future__ import annotations

from typing import Any

from conch.contracts.errors import ConchError
from conch.contracts.fingerprint import package_versions, sha256_of_code, sha256_of_file, sha256_of_json
from training.checkpoints.manifest import checkpoint_folder, read_manifest
from training.loop.run import Run
from training.recipe import Recipe

DECIDES = (
    "clients/preparation.py",
    "training/adversarial.py",
    "training/attention.py",
    "training/average_precision.py",
    "training/characters.py",
    "training/checkpoints/checkpoint.py",
    "training/checkpoints/up_to_date.py",
    "training/classifier.py",
    "training/coding.py",
    "training/contrastive_divergence.py",
    "training/convolution.py",
    "training/data/augmentation.py",
    "training/data/batches.py",
    "training/data/bits.py",
    "training/data/canvases.py",
    "training/data/download.py",
    "training/data/features.py",
    "training/data/image_folder.py",
    "training/data/images.py",
    "training/data/photographs.py",
    "training/data/phrases.py",
    "training/data/public_data.py",
    "training/data/ratings.py",
    "training/data/scenes.py",
    "training/data/series.py",
    "training/data/spikes.py",
    "training/data/sprites.py",
    "training/data/styled.py",
    "training/data/taxi.py",
    "training/data/text.py",
    "training/disentanglement.py",
    "training/image_code.py",
    "training/image_recipe.py",
    "training/least_squares.py",
    "training/loop/epochs.py",
    "training/loop/fit.py",
    "training/loop/judging.py",
    "training/loop/run.py",
    "training/loop/trainee.py",
    "training/predict.py",
    "training/recipe.py",
    "training/score.py",
    "training/served.py",
    "training/states.py",
    "training/suppression.py",
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
