"""Pictures to prove a model on, prepared by the folder's own image processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conch.contracts.errors import ConchError
from export.pretrained.folder import Folder
from export.pretrained.offline import load_transformers

SETTINGS = ("preprocessor_config.json", "processor_config.json")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PARTS = (1.0, 0.7, 0.45)
"""Of each photograph's sides: crops of several places and scales."""


@dataclass(frozen=True)
class Pictures:
    """An image processor and the pictures of the proof."""

    processor: Any
    pictures: Sequence[Image.Image]
    source: str

    def items(self) -> list[dict[str, np.ndarray]]:
        """`pixel_values` float32 [3, height, width] of each.

        Raises:
            ConchError: the processor makes pixels of sizes that differ, which a batch cannot hold.
        """
        arrays = [
            np.asarray(self.processor(picture, return_tensors="np")["pixel_values"][0], np.float32)
            for picture in self.pictures
        ]
        if len(shapes := {array.shape for array in arrays}) > 1:
            raise ConchError(f"the image processor gives pixels of several sizes, {sorted(shapes)[:2]}: not covered")
        return [{"pixel_values": array} for array in arrays]


def load_pictures(folder: Folder, given: Path | None) -> Pictures:
    """The processor of the folder, run by Pillow, and the pictures of `--pictures` or photographs of scikit-learn's.

    Raises:
        ConchError: there is no processor, it needs code of the folder, or there are too few pictures.
    """
    if not any((folder.path / file).exists() for file in SETTINGS):
        raise ConchError(
            f"{folder.path} has no {SETTINGS[0]}, which says how a picture becomes pixels; download it too"
        )
    transformers = load_transformers()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except Exception as error:  # whatever a file of somebody else's makes it raise
        raise ConchError(f"{folder.path}: no image processor: {' '.join(str(error).split())[:300]}") from error
    if given is None:
        return Pictures(processor, photographs(), "parts of scikit-learn's two photographs")
    files = sorted(file for file in given.rglob("*") if file.suffix.lower() in ENDINGS)[:64] if given.is_dir() else []
    if len(files) < 2:
        raise ConchError(f"--pictures {given}: it must be a folder with two pictures or more ({', '.join(ENDINGS)})")
    try:
        return Pictures(processor, [Image.open(file).convert("RGB") for file in files], given.name)
    except OSError as error:
        raise ConchError(f"--pictures {given}: {error}") from error


def photographs() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    found = []
    for array in load_sample_images().images:
        height, width = array.shape[:2]
        for part in PARTS:
            high, wide = int(height * part), int(width * part)
            for top, left in {(0, 0), (height - high, width - wide), ((height - high) // 2, (width - wide) // 3)}:
                found.append(Image.fromarray(array[top : top + high, left : left + wide]))
    return found
