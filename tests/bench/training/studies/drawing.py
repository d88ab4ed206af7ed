"""The studies' pictures: medians over the seeds, with the band between the least and the greatest."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from tests.bench.training.studies.depth import PLAIN, RESIDUAL
from tests.bench.training.studies.initialisation import CLASSES, GAINS
from tests.bench.training.studies.study import Run, chosen

COLOURS = ("#2f6db3", "#d1662b", "#3a8f5c", "#7b4fa3", "#5f6b76")


def draw_initialisation(runs: Sequence[Run], path: Path) -> None:
    """Training loss over the epochs, a panel a depth, as figures 2 and 3 of the paper."""
    depths = _depths(runs)
    figure = Figure(figsize=(4.6 * len(depths), 3.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    for axes, depth in zip(panels, depths, strict=True):
        for variant, colour in zip(GAINS, COLOURS, strict=False):
            _band(axes, chosen(runs, depth, variant), f"Var[w] = {variant}", colour)
        axes.axhline(np.log(CLASSES), color="#5f6b76", linewidth=1, linestyle=":", label="chance")
        _finish(axes, f"{depth} layers", "epoch")
    panels[0].set_ylabel("training loss, nats")
    panels[0].set_ylim(0, 1.25 * np.log(CLASSES))
    panels[-1].legend(frameon=False, loc="center right")
    figure.savefig(path, metadata={"Software": None})


def draw_depth(runs: Sequence[Run], path: Path) -> None:
    """Training error over the epochs, plain and residual, as figure 6 of the paper; then the last over the depth."""
    depths = _depths(runs)
    figure = Figure(figsize=(13, 3.8), layout="constrained", dpi=110)
    plain, residual, last = figure.subplots(1, 3)
    for axes, variant in ((plain, PLAIN), (residual, RESIDUAL)):
        for depth, colour in zip(depths, COLOURS, strict=False):
            _band(axes, chosen(runs, depth, variant), f"{depth} layers", colour, scale=100)
        axes.set_ylim(0, 100)
        _finish(axes, variant, "epoch")
    plain.set_ylabel("error in training, %")
    plain.legend(frameon=False)
    for variant, colour, marker in ((PLAIN, COLOURS[1], "s"), (RESIDUAL, COLOURS[0], "o")):
        errors = [[100 * run.error for run in chosen(runs, depth, variant)] for depth in depths]
        medians = [statistics.median(values) for values in errors]
        spread = [[median - min(values) for median, values in zip(medians, errors, strict=True)],
                  [max(values) - median for median, values in zip(medians, errors, strict=True)]]  # fmt: skip
        last.errorbar(depths, medians, spread, label=variant, color=colour, marker=marker, capsize=3)
    last.set_yscale("log")
    ticks = [value for value in (1, 2, 5, 10, 20, 50, 100) if last.get_ylim()[0] <= value <= last.get_ylim()[1]]
    last.yaxis.set_major_locator(FixedLocator(ticks))
    last.yaxis.set_minor_locator(NullLocator())
    last.yaxis.set_major_formatter("{x:g}")
    _finish(last, "after training, all images", "layers")
    last.set_ylabel("training error, %")
    last.xaxis.set_major_locator(FixedLocator(depths))
    last.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _band(axes: Axes, runs: Sequence[Run], label: str, colour: str, scale: float = 1) -> None:
    curves = scale * np.array([run.curve for run in runs])
    epochs = np.arange(1, curves.shape[1] + 1)
    axes.plot(epochs, np.median(curves, axis=0), label=label, color=colour, marker="." if len(epochs) < 30 else "")
    axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.18, linewidth=0)


def _finish(axes: Axes, title: str, across: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _depths(runs: Sequence[Run]) -> list[int]:
    return sorted({run.depth for run in runs})
