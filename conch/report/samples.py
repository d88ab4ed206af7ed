"""Pictures to call the models with: a held-out digit and a noisy one, from the published golden inputs.

conch report samples artifacts/calls
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tyro
from PIL import Image

from conch import command_line
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from conch.contracts.golden import read_golden
from conch.contracts.versions import latest_version

PICTURES = {"digit.png": "cnn", "noisy.png": "autoencoder"}


def main(words: Sequence[str]) -> int:
    """Run `conch report samples` with these words; the exit code."""
    return command_line.run(lambda: tyro.cli(samples, prog="conch report samples", description=__doc__, args=words))


def samples(folder: tyro.conf.Positional[Path]) -> int:
    """Write the pictures.

    Args:
        folder: Where they go; made where it is missing.
    """
    try:
        write_samples(folder)
    except OSError as error:
        raise ConchError(f"cannot write to {folder}: {error.strerror or error}") from error
    return 0


def write_samples(folder: Path) -> None:
    """Write the first golden image of each model in `PICTURES` as a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, model in PICTURES.items():
        version = latest_version(artifacts_folder() / "models", model)
        if version is None:
            raise ConchError(f"no published {model}; make it with: conch train {model} && conch export {model}")
        pixels = read_golden(version)[0]["image"][0]
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(folder / file)
