"""The runs of the headline table: what is trained, and what each has to reach in what time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conch.contracts.errors import ConchError


@dataclass(frozen=True)
class Run:
    """One training, and the floors of its judgement."""

    name: str
    title: str
    arguments: tuple[str, ...]
    """Of `conch train`; the first is the recipe."""
    minutes: float
    """The most that the command may take, data reading and scoring included, on two cores."""
    floors: Mapping[str, float]
    """By name of a judged metric: its worst value that is enough."""

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.arguments[0]

    @property
    def command(self) -> str:
        """The command line as a user types it."""
        return " ".join(("python", "-m", "training", *self.arguments))

    @property
    def runner(self) -> str:
        """The command line that trains, times and judges it."""
        return f"python -m tests.bench.training.headline {self.name}"


RUNS = (
    Run("lenet", "LeNet-5 on MNIST", ("cnn", "--data", "mnist"), 5, {"accuracy": 99.1}),
    Run("resnet", "ResNet-20 on Fashion-MNIST", ("resnet", "--data", "fashion-mnist"), 35, {"accuracy": 93.0}),
    Run("lstm", "LSTM on tinyshakespeare", ("lstm", "--data", "shakespeare"), 35, {"nats per character": 1.60}),
    Run(
        "autoencoder", "Denoising autoencoder on MNIST", ("autoencoder", "--data", "mnist", "--sigma", "0.5"), 10,
        {"PSNR above the best filter": 3.0},
    ),
    Run(
        "gan", "DCGAN on MNIST", ("gan", "--data", "mnist"), 35,
        {"rarest class": 5.0, "commonest class": 17.0, "mean top probability": 0.92},
    ),
)  # fmt: skip


def find_runs(names: Sequence[str], runs: Sequence[Run] = RUNS) -> list[Run]:
    """The runs of these names in the table's order, for the GAN is judged by the LeNet before it; all for "all".

    Raises:
        ConchError: a name is none of the table's.
    """
    known = [run.name for run in runs]
    if unknown := [name for name in names if name not in (*known, "all")]:
        raise ConchError(f"no headline run {unknown[0]!r}; there are: {', '.join(known)}, all")
    return [run for run in runs if run.name in names or "all" in names or not names]
