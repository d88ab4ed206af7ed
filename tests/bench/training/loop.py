"""What the training loop costs: a recipe's epochs against the bare loop over one batch that stays in memory.

    python -m tests.bench.training.loop

LeNet-5 and ResNet-20 at several batch sizes, in alternating rounds. The bare loop is forward, backward and optimizer
step of the same network, loss and optimizer, over one float32 batch. The recipe's epochs go through `run_epochs` as in
any training: shuffled batches gathered from uint8 pixels, augmentation, schedule, metrics, progress. Writes the section
"training" of docs/benchmarks.md.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch.nn import functional

from conch.contracts.fingerprint import package_versions
from tests.bench.machine import describe_machine
from tests.bench.sections import write_section
from training.classifier import ClassifierRecipe
from training.data.augmentation import to_unit_range
from training.data.images import Images
from training.loop.epochs import run_epochs
from training.loop.stopping import RunStopped
from training.recipes.cnn import CNN
from training.recipes.resnet import ResNetRecipe

OUT, ERR = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
DOCS = Path("docs")
FLOOR = 0.9
BUSY = 0.7
"""The load average above which something else runs on the machine."""


@dataclass(frozen=True)
class Cell:
    """One model at one batch size; a turn of either loop is `steps` long."""

    name: str
    recipe: type[ClassifierRecipe]
    batch: int
    steps: int
    required: bool
    """Whether the floor is held here: at the batch sizes of the headline runs."""


CELLS = (
    Cell("LeNet-5", CNN, 32, 600, required=False),
    Cell("LeNet-5", CNN, 64, 400, required=False),
    Cell("LeNet-5", CNN, 256, 234, required=True),
    Cell("ResNet-20", ResNetRecipe, 32, 60, required=False),
    Cell("ResNet-20", ResNetRecipe, 128, 20, required=True),
)


@dataclass(frozen=True)
class Measured:
    """Examples a second of each round."""

    cell: Cell
    bare: list[float]
    recipe: list[float]

    @property
    def ratio(self) -> float:
        """Of the medians: the recipe's rate in units of the bare loop's."""
        return statistics.median(self.recipe) / statistics.median(self.bare)

    @property
    def met(self) -> bool:
        """Whether the floor is reached, or not held here."""
        return not self.cell.required or self.ratio >= FLOOR


def main() -> int:
    """Measure, write, and tell which floors are met."""
    load = os.getloadavg()[0]
    if load > BUSY:
        ERR.print(f"[yellow]the machine is busy[/] (load {load:.1f}); stop what else runs")
    try:
        found = [measure(cell) for cell in CELLS]
    except RunStopped as stop:
        ERR.print("stopped; nothing was written")
        return stop.exit_code
    except KeyboardInterrupt:
        ERR.print("stopped; nothing was written")
        return 130
    write_section(DOCS / "benchmarks.md", "training", report(found, load))
    for one in found:
        if not one.met:
            OUT.print(f"[yellow]missed:[/] {one.cell.name}, batch {one.cell.batch}: {one.ratio:.2f}, {FLOOR} required")
    held = [one for one in found if one.cell.required]
    OUT.print(f"{sum(one.met for one in held)} of {len(held)} floors met -> {DOCS / 'benchmarks.md'}")
    return 0


def measure(cell: Cell, rounds: int = 7) -> Measured:
    """Both loops in turn, each beginning every other round."""
    measured = Measured(cell, [], [])
    data = random_images(cell.batch * cell.steps)
    turns = [(bare_rate, measured.bare), (recipe_rate, measured.recipe)]
    for number in range(rounds):
        ERR.print(f"{cell.name}, batch {cell.batch}, round {number + 1} of {rounds}")
        for rate, figures in turns if number % 2 else reversed(turns):
            figures.append(rate(cell, data))
    return measured


def random_images(count: int) -> Images:
    """`count` training images 28x28 of noise in 10 classes, and a few held-out ones: what they show costs nothing."""
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (count + 10, 28, 28, 1), dtype=np.uint8)
    labels = np.arange(count + 10) % 10
    return Images("random", pixels[10:], labels[10:], pixels[:10], labels[:10], tuple("0123456789"))


def bare_rate(cell: Cell, data: Images) -> float:
    """Examples a second of forward, backward and step over the first batch, resident as float32."""
    recipe = cell.recipe(batch_size=cell.batch)
    network = recipe.network(data).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    images = to_unit_range(torch.from_numpy(data.train[: cell.batch])).contiguous()
    labels = torch.from_numpy(data.train_labels[: cell.batch])

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    for _ in range(max(3, cell.steps // 10)):
        step()
    began = time.perf_counter()
    for _ in range(cell.steps):
        step()
    return cell.steps * cell.batch / (time.perf_counter() - began)


def recipe_rate(cell: Cell, data: Images) -> float:
    """Examples a second of the second epoch, as the manifest of a run would have it."""
    recipe = cell.recipe(batch_size=cell.batch, epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        rate = run_epochs(recipe, data, Path(folder) / "state", "benchmark", resume=False).examples_per_second
    assert rate is not None
    return rate


def report(found: list[Measured], load: float) -> str:
    """The section as Markdown; `load` is the machine's load average of the minute before."""
    versions = package_versions("torch", "lightning")
    lines = [
        "## Training: the recipes against the bare loop",
        "",
        f"`make bench-training`, {datetime.now(UTC):%Y-%m-%d}, on {describe_machine()}, {torch.get_num_threads()} "
        f"threads; torch {versions['torch']}, lightning {versions['lightning']}; load before: {load:.2f}.",
        "",
        "Examples a second on the CPU, medians of alternating rounds, in brackets lowest and highest. The bare loop is "
        "forward, backward and optimizer step over one batch that stays in memory; the recipe gathers, augments, "
        f"schedules and logs as well. The floor of {FLOOR} is held at the batch sizes of the headline runs. "
        "Lightning's loop takes half a millisecond a step, which small batches of LeNet-5 feel.",
        "",
        "| model | batch | bare loop | recipe | ratio | required | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in found:
        verdict = "" if not one.cell.required else "met" if one.met else "**missed**"
        lines.append(
            f"| {one.cell.name} | {one.cell.batch} | {_spread(one.bare)} | {_spread(one.recipe)} | {one.ratio:.2f} | "
            f"{FLOOR if one.cell.required else '-'} | {verdict} |"
        )
    return "\n".join(lines)


def _spread(figures: list[float]) -> str:
    return f"{statistics.median(figures):,.0f} ({min(figures):,.0f} to {max(figures):,.0f})"


if __name__ == "__main__":
    sys.exit(main())
