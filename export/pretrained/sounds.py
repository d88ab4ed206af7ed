"""Sounds to prove a model on, and the folder's own feature extractor."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from conch.contracts.errors import ConchError
from export.pretrained.folder import Folder
from export.pretrained.offline import load_transformers
from export.pretrained.pictures import SETTINGS

SECONDS = (0.2, 0.3, 0.5, 0.4, 0.25, 0.6, 0.35, 0.45)
"""Of the sounds but the longest."""


def hears(folder: Folder) -> bool:
    """Whether the folder says how a sound becomes a model's input."""
    for name in SETTINGS:
        file = folder.path / name
        if file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            # Older folders of pictures have a feature_extractor_type as well.
            if "sampling_rate" in found.get("feature_extractor", found):
                return True
    return False


def load_extractor(folder: Folder) -> Any:
    """The feature extractor of the folder.

    Raises:
        ConchError: there is none, or it cannot be loaded without running code.
    """
    if not hears(folder):
        raise ConchError(
            f"{folder.path} has no {SETTINGS[0]} of a feature extractor, which says how a sound becomes a model's "
            "input; download it too"
        )
    try:
        return load_transformers().AutoFeatureExtractor.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever a file of somebody else's makes it raise
        raise ConchError(f"{folder.path}: no feature extractor: {' '.join(str(error).split())[:300]}") from error


def made_sounds(rate: int, longest_s: float) -> list[np.ndarray]:
    """Sounds float32 [samples] within -1 and 1: chirps with overtones under an envelope, over noise, of several lengths
    and volumes, the last the longest."""
    rng = np.random.default_rng(0)
    found = []
    for place, seconds in enumerate((*SECONDS, longest_s)):
        time = np.arange(int(rate * seconds)) / rate
        low, high = np.sort(rng.uniform(80, 0.4 * rate, 2))
        phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * time[-1]))
        tone = sum(np.sin(overtone * phase) / overtone for overtone in range(1, 2 + place % 4))
        envelope = np.abs(np.sin(np.pi * rng.integers(1, 6) * time / time[-1]))
        sound = tone * envelope + rng.uniform(0.01, 0.5) * rng.standard_normal(time.size)
        found.append((rng.uniform(0.05, 0.9) * sound / np.abs(sound).max()).astype(np.float32))
    return found
