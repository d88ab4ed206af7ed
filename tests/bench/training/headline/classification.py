"""Classifiers: the recipe's accuracy on the test set, and what they get wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tests.bench.training.headline.judgement import Judgement, Table
from training.checkpoints.checkpoint import Checkpoint
from training.data.images import Images
from training.predict import torch_predict

SHOWN, COLUMNS = 24, 12
COMMONEST = 5


def judge_classifier(checkpoint: Checkpoint, folder: Path) -> Judgement:
    """The recipe's own score of the served module; draws the first wrong answers."""
    data = checkpoint.data
    assert isinstance(data, Images)
    predict = torch_predict(checkpoint.recipe.served(checkpoint.trained, data)[0])
    answers = predict({"image": data.held_out})["probabilities"].argmax(1)
    wrong = np.flatnonzero(answers != data.held_out_labels)
    pictures = {}
    if len(wrong):
        _draw_errors(folder / "errors.png", data, answers, wrong[:SHOWN])
        pictures["errors.png"] = f"The first {len(wrong[:SHOWN])} of {len(wrong):,} errors: truth, then answer"
    return Judgement(
        metrics=tuple(checkpoint.recipe.score(predict, data)),
        how=(
            f"Share of the {len(data.held_out):,} images of the test set for which the served module's likeliest class "
            "is the true one. The test set is looked at after every epoch for the curves and decides nothing in the "
            "run: the weights are those at its end."
        ),
        tables=_confusions(data, answers, wrong),
        pictures=pictures,
    )


def _confusions(data: Images, answers: NDArray[np.int64], wrong: NDArray[np.intp]) -> tuple[Table, ...]:
    pairs = Counter((int(data.held_out_labels[index]), int(answers[index])) for index in wrong)
    rows = tuple(
        (data.labels[truth], data.labels[answer], f"{count:,}")
        for (truth, answer), count in pairs.most_common(COMMONEST)
    )
    return (Table("The commonest errors", ("truth", "answer", "images"), rows),) if rows else ()


def _draw_errors(path: Path, data: Images, answers: NDArray[np.int64], chosen: NDArray[np.intp]) -> None:
    lines = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(COLUMNS, 1.5 * lines), layout="constrained", dpi=90)
    panels = np.atleast_1d(figure.subplots(lines, COLUMNS)).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, index in zip(panels, chosen, strict=False):
        axes.imshow(data.held_out[index].squeeze(), cmap="gray", vmin=0, vmax=255)
        truth, answer = data.labels[data.held_out_labels[index]], data.labels[answers[index]]
        axes.set_title(f"{truth}\n→ {answer}", fontsize=9)
    figure.savefig(path, metadata={"Software": None})
