"""The section of docs/training.md on the studies, written from the results at hand and nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.sections import write_section
from tests.bench.training.studies.initialisation import epochs_to_learn
from tests.bench.training.studies.results import Result
from tests.bench.training.studies.study import Run, chosen

TITLES = {
    "initialisation": "Weights of variance 2/n",
    "depth": "Skip connections",
}
TEXTS = {
    "initialisation": """
Each ReLU halves the mean square of what goes through it. Weights of variance 2/n make up for that; with 1/n the signal,
and with it every gradient, is 2^(depth/2) times smaller. Figures 2 and 3 of He et al., *Delving deep into rectifiers*,
2015, show it for 22 and 30 layers. Here the networks are fully connected, with {width} units a layer, on
scikit-learn's 8x8 digits: SGD with momentum {momentum:g} at the fixed rate {learning_rate:g}, batches of {batch_size},
{epochs} epochs, {seeds} seeds, no normalisation. Two things differ from the paper: hidden layers have no biases (with
them, the 30 layers of 1/n rose to 18 to 31 % training accuracy in a trial of 40 epochs, perhaps because the biases of
the last layers learn without a signal from below), and the rate was chosen so that no seed of 2/n spikes.
""",
    "depth": """
Figure 6 of He et al., *Deep residual learning for image recognition*, 2015: with batch normalisation a deeper plain
network still learns its own training data worse, a residual one better. The residual network is `resnet` as it ships,
the plain one the same without the skips: same parameters, initial weights, batches, optimiser, schedule and steps.
{images:,} images of Fashion-MNIST at {side}x{side}, SGD with momentum {momentum:g}, weight decay {weight_decay:g} and
a one-cycle schedule with a peak of {learning_rate:g}, batches of {batch_size}, {epochs} epochs, {seeds} seeds. What is
claimed is measured on all training images, in eval mode, after the last epoch. The task has to be hard enough: on
digits every residual network learns all its data, and at 8x8 pixels depth brought the residual ones nothing (10.0 to
10.2 %).
""",
}
CAPTIONS = {
    "initialisation": "Loss of the training data after each epoch: median of the seeds, least and greatest as a band",
    "depth": "Error of the training batches over the epochs, and of all training images after the last: median of the "
    "seeds, least and greatest as band and bars",
}


def write_page(path: Path, results: Mapping[str, Result | None]) -> None:
    """Replace what stands between the section's markers; all else of the page stays."""
    write_section(path, "studies", section(results), title="# Training\n")


def section(results: Mapping[str, Result | None]) -> str:
    """The section as Markdown."""
    lines = [
        "## Why it works",
        "",
        "`make studies` trains the networks of two textbook results, computes from the runs whether each came out, "
        "draws them and writes this section; where one does not come out, it says so here and exits with 1. "
        "`python -m tests.bench.training.studies depth` makes one of them.",
        "",
    ]
    for name, result in results.items():
        lines += [f"### {TITLES[name]}", "", *(_of_study(result) if result else ["Not run yet.", ""])]
    return "\n".join(lines).strip()


def _of_study(result: Result) -> list[str]:
    lines = [" ".join(TEXTS[result.study].format(**result.settings).split()), ""]
    lines += ["| claim | measured | |", "|---|---|---|"]
    lines += [
        f"| {claim.says} | {claim.measured} | {'came out' if claim.holds else '**did not come out**'} |"
        for claim in result.claims
    ]
    lines += ["", f"![{CAPTIONS[result.study]}](training/studies-{result.study}.png)", ""]
    lines += [f"*{CAPTIONS[result.study]}.*", ""]
    lines += [*(_initialisation_table if result.study == "initialisation" else _depth_table)(result.runs), ""]
    versions = ", ".join(f"{name} {version}" for name, version in result.packages.items() if name != "python")
    minutes, seconds = divmod(round(result.seconds), 60)
    lines += [
        f"{result.date}, {minutes} min {seconds} s on {result.machine}; {versions}; load of the minute before: "
        f"{result.load:.2f}. Every run is in `docs/training/studies-{result.study}.json`.",
        "",
    ]
    return lines


def _initialisation_table(runs: Sequence[Run]) -> list[str]:
    lines = [
        "| layers | Var[w] | epochs to converge, each seed | training accuracy, median (least to greatest) |",
        "|---:|---|---|---:|",
    ]
    for depth, variant in dict.fromkeys((run.depth, run.variant) for run in runs):
        group = chosen(runs, depth, variant)
        epochs = ", ".join(f"{value:g}" if value < float("inf") else "never" for value in map(epochs_to_learn, group))
        lines.append(f"| {depth} | {variant} | {epochs} | {_spread([1 - run.error for run in group])} |")
    return lines


def _depth_table(runs: Sequence[Run]) -> list[str]:
    variants = list(dict.fromkeys(run.variant for run in runs))
    lines = [
        f"| layers | {' | '.join(f'{variant}: training error, median (least to greatest)' for variant in variants)} |",
        "|---:|" + "---:|" * len(variants),
    ]
    for depth in dict.fromkeys(run.depth for run in runs):
        cells = [_spread([run.error for run in chosen(runs, depth, variant)]) for variant in variants]
        lines.append(f"| {depth} | {' | '.join(cells)} |")
    return lines


def _spread(shares: Sequence[float]) -> str:
    return f"{statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
