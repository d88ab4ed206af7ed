"""Judge the checkpoint of a run with the judge of its recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.training.headline.classification import judge_classifier
from tests.bench.training.headline.denoising import judge_denoiser
from tests.bench.training.headline.generation import judge_generator
from tests.bench.training.headline.judgement import Judgement
from tests.bench.training.headline.language import judge_language
from training.checkpoints.checkpoint import Checkpoint

JUDGES: Mapping[str, Callable[[Checkpoint, Path], Judgement]] = {
    "cnn": judge_classifier,
    "resnet": judge_classifier,
    "lstm": judge_language,
    "autoencoder": judge_denoiser,
    "gan": judge_generator,
}
"""By recipe. Each takes a checkpoint and a folder for its pictures."""
