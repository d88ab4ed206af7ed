"""Pictures of a run: learning curves and grids of images."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image


def draw_curves(metrics_csv: Path, path: Path) -> None:
    """Draw every column of a `metrics.csv` over epochs: losses in one panel, each other metric in its own."""
    with metrics_csv.open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    losses = [name for name in names if name.endswith("loss")]
    panels = ([losses] if losses else []) + [[name] for name in names if name not in losses]
    figure = Figure(figsize=(4.5 * max(1, len(panels)), 3.2), layout="constrained")
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name in panel:
            points = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row[name]]
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else "")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def grid(images: NDArray[np.uint8], columns: int, scale: int = 2, gap: int = 2) -> Image.Image:
    """Tile images uint8 [n, height, width, channels] (1 or 3 channels) row by row on white."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = gap + (index // columns) * (height + gap), gap + (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def draw_scatter(points: NDArray[np.float32], labels: NDArray[np.int64], names: tuple[str, ...], path: Path) -> None:
    """Draw points [n, 2], each class in its colour."""
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for label, name in enumerate(names):
        of_class = points[labels == label]
        axes.scatter(of_class[:, 0], of_class[:, 1], s=12, label=name)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=110)


def draw_decay(lines: Mapping[str, NDArray[np.float64]], along: str, what: str, path: Path) -> None:
    """Draw lines [n] by name over 0, 1, 2, ... on a scale of powers of ten."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in lines.items():
        axes.semilogy(values, label=name)
    axes.set(xlabel=along, ylabel=what)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def draw_matrices(matrices: Mapping[str, NDArray[np.float64]], low: float, high: float, path: Path) -> None:
    """Draw matrices [rows, columns] by name below each other, in colours from `low` to `high`; NaN stays white."""
    figure = Figure(figsize=(10, 2.7 * len(matrices)), layout="constrained")
    panels = figure.subplots(len(matrices), squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, matrices.items(), strict=True):
        drawn = axes.imshow(values, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        axes.set(ylabel=name, xticks=[], yticks=[])
    figure.colorbar(drawn, ax=panels)
    figure.savefig(path, dpi=110)


def draw_alignments(drawn: Sequence[tuple[str, str, NDArray[np.float32]]], path: Path) -> None:
    """Draw how much of each character of a text (across) is looked at for each of its translation (down)."""
    figure = Figure(figsize=(11, 2.1 * -(-len(drawn) // 2)), layout="constrained")
    for place, (text, translation, attention) in enumerate(drawn):
        axes = figure.add_subplot(-(-len(drawn) // 2), 2, place + 1)
        axes.imshow(attention, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(text)), list(text), fontsize=7)
        axes.set_yticks(range(len(translation)), list(translation), fontsize=7)
    figure.savefig(path, dpi=110)


def draw_captioned(images: NDArray[np.uint8], sentences: Sequence[str], path: Path) -> None:
    """Draw images uint8 [n, height, width, 1], four a row, each with its sentence below."""
    rows = -(-len(images) // 4)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    for place, (image, sentence) in enumerate(zip(images, sentences, strict=True)):
        axes = figure.add_subplot(rows, 4, place + 1)
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(textwrap.fill(sentence, 30), fontsize=9)
    figure.savefig(path, dpi=110)


def draw_rows(rows: Mapping[str, NDArray[np.uint8]], path: Path) -> None:
    """Draw rows of images with a name before each: uint8 [n, height, width, channels] by name."""
    figure = Figure(figsize=(10, 0.95 * len(rows)), layout="constrained")
    for index, (name, images) in enumerate(rows.items()):
        axes = figure.add_subplot(len(rows), 1, index + 1)
        axes.imshow(grid(images, columns=len(images)), cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    figure.savefig(path, dpi=110)
