"""A step of training calls what somebody has written, and of Lightning's own only what cannot be left out."""

import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler

from training.classifier import ClassifierTrainee
from training.data.images import Images
from training.loop.epochs import run_epochs
from training.recipes.cnn import CNN

BATCHES = 24


@pytest.fixture
def data() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (8 * BATCHES + 8, 28, 28, 1), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 10
    return Images("noise", pixels[8:], labels[8:], pixels[:8], labels[:8], tuple("0123456789"))


def test_a_step_calls_no_empty_hook_no_profiler_and_inspects_no_signature(data: Images, tmp_path: Path) -> None:
    called: list[tuple[str, str]] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.append((frame.f_code.co_filename, frame.f_code.co_name))

    sys.setprofile(watch)
    try:
        run_epochs(CNN(batch_size=8, epochs=1), data, tmp_path / "state", "test", resume=False)
    finally:
        sys.setprofile(None)
    empty = [name for file, name in called if file == inspect.getfile(Callback)]
    profiled = [name for file, name in called if file == inspect.getfile(Profiler) and name == "profile"]
    inspected = [name for file, name in called if file == inspect.__file__ and name == "_signature_from_function"]
    steps = [name for file, name in called if file == inspect.getfile(ClassifierTrainee) and name == "training_step"]
    assert len(steps) == BATCHES
    assert not {name for name in empty if "batch" in name or "backward" in name or "zero_grad" in name} - VALIDATION
    assert profiled == []
    assert len(inspected) < BATCHES


VALIDATION = {"on_validation_batch_start", "on_validation_batch_end"}
"""A batch or two an epoch: no hooks of a step."""
