"""What a run reached, as a file of its own beside the page: docs/training/<run>.json and its pictures."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conch.contracts.fingerprint import package_versions
from tests.bench import store
from tests.bench.training.headline.judgement import Judgement, Table
from tests.bench.training.headline.judging import JUDGES
from tests.bench.training.headline.runs import Run
from tests.bench.training.headline.timed_training import Training, training_at_hand
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.manifest import checkpoint_folder
from training.checkpoints.up_to_date import PACKAGES, is_up_to_date
from training.recipe import Metric

CURVES = "curves.png"


@dataclass(frozen=True)
class Result:
    """A training and its judgement."""

    run: str
    training: Training | None
    """None where the checkpoint at hand was not trained and timed by the runner."""
    judgement: Judgement
    """Pictures are named as in the page's folder."""
    settings: dict[str, Any]
    parameters: int
    examples_per_second: float
    """Of the training loop: images, or windows of text."""
    data: dict[str, Any]
    weights: str
    packages: dict[str, str]
    judged: str

    def write(self, folder: Path) -> None:
        """Write `<run>.json`, whole or not at all."""
        store.write(folder / f"{self.run}.json", asdict(self))


def read_result(run: Run, folder: Path) -> Result | None:
    """The result of an earlier run; None where there is none.

    Raises:
        ConchError: the file is damaged.
    """
    return store.read(folder / f"{run.name}.json", _result, run.runner)


def _result(content: dict[str, Any]) -> Result:
    judgement = content["judgement"]
    judgement["metrics"] = tuple(Metric(**metric) for metric in judgement["metrics"])
    judgement["tables"] = tuple(
        Table(table["title"], tuple(table["header"]), tuple(map(tuple, table["rows"]))) for table in judgement["tables"]
    )
    training = content["training"] and Training(**content["training"])
    return Result(**content | {"judgement": Judgement(**judgement), "training": training})


def judge(run: Run, folder: Path) -> Result:
    """Judge the run's checkpoint; its result and pictures are written to `folder` when all is done.

    Raises:
        ConchError: there is no checkpoint, or it is damaged, or cannot be judged.
    """
    checkpoint = load_checkpoint(run.recipe)
    manifest = checkpoint.manifest
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{run.name}-", dir=folder) as temporary:
        drawn = Path(temporary)
        judgement = JUDGES[run.recipe](checkpoint, drawn)
        shutil.copyfile(checkpoint_folder(run.recipe) / CURVES, drawn / CURVES)
        captions = {CURVES: "Learning curves: the values of each epoch"} | judgement.pictures
        for picture in captions:
            (drawn / picture).replace(folder / f"{run.name}-{picture}")
    named = {f"{run.name}-{picture}": caption for picture, caption in captions.items()}
    result = Result(
        run=run.name,
        training=training_at_hand(run),
        judgement=Judgement(judgement.metrics, judgement.how, judgement.tables, named, judgement.text),
        settings={name: value for name, value in manifest["settings"].items() if name != "data_dir"},
        parameters=manifest["parameters"],
        examples_per_second=manifest["examples_per_second"],
        data=manifest["data"],
        weights=manifest["sha256"]["weights"],
        packages=package_versions(*PACKAGES, "scikit-image", "torchmetrics"),
        judged=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    result.write(folder)
    return result


def is_done(run: Run, folder: Path) -> bool:
    """Whether the result at hand is of just this command, code, data and versions, and its weights are at hand."""
    result = read_result(run, folder)
    if result is None or result.training is None or result.training != training_at_hand(run):
        return False
    checkpoint = load_checkpoint(run.recipe)
    return is_up_to_date(checkpoint.recipe, checkpoint.data)
