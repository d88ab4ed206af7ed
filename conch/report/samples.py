"""Pictures to call the models with: a held-out digit and a noisy one, from the published golden inputs.

python -m conch.report.samples artifacts/calls
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from serving.repository.publish import latest_version
from training.checkpoints.manifest import artifacts_folder

PICTURES = {"digit.png": "cnn", "noisy.png": "autoencoder"}


def write_samples(folder: Path) -> None:
    """Write the first golden image of each model in `PICTURES` as a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, model in PICTURES.items():
        version = latest_version(artifacts_folder() / "models", model)
        if version is None:
            sys.exit(
                f"error: no published {model}; make it with: python -m training {model} && python -m export {model}"
            )
        with np.load(version / "golden.npz") as golden:
            pixels = golden["inputs/image"][0]
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(folder / file)


if __name__ == "__main__":
    try:
        write_samples(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(f"error: {error}")
