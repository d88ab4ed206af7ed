"""A folder of pictures of three classes, and a classifier of them: what a newcomer begins with."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSIFIER = '''
"""A perceptron on small images."""

from dataclasses import dataclass

from torch import nn

from training.classifier import ClassifierRecipe
from training.data.images import Images


@dataclass(frozen=True)
class TwoLayers(ClassifierRecipe):
    """A perceptron on small images."""

    epochs: int = 2

    def network(self, data: Images) -> nn.Module:
        height, width, channels = data.shape
        return nn.Sequential(nn.Flatten(), nn.Linear(height * width * channels, OUTPUTS))
'''


def write_shapes(folder: Path) -> Path:
    """Grey pictures of 28x28 in `folder/shapes`: 40 a class, which differ in brightness."""
    generator = np.random.default_rng(0)
    for darkness, name in enumerate(("circle", "square", "triangle"), 1):
        place = folder / "shapes" / name
        place.mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(0, 256, (28, 28)) // darkness
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return folder / "shapes"


def write_classifier(folder: Path, outputs: str) -> Path:
    """The classifier as `two_layers.py`; `outputs` is the Python of the number of its last layer's outputs."""
    path = folder / "two_layers.py"
    path.write_text(CLASSIFIER.lstrip().replace("OUTPUTS", outputs))
    return path
