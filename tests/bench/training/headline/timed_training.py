"""Train by the project's own command line, in a process of its own, and take the time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from conch.contracts.artifacts import artifacts_folder
from conch.contracts.errors import ConchError
from serving.server.interruption import Interrupted
from tests.bench import store
from tests.bench.machine import describe_machine
from tests.bench.training.headline.runs import Run
from training.checkpoints.manifest import read_manifest

STOP_SECONDS = 30
"""What a training gets to end after it was asked to."""


@dataclass(frozen=True)
class Training:
    """What is known of a training besides its checkpoint."""

    command: str
    seconds: float
    """From starting the command to its end."""
    others: float
    """Share of the cores' time that other processes took meanwhile, 0..1."""
    date: str
    machine: str
    commit: str | None
    """That the code of `training/` was at; with "+" where it had been changed since."""
    weights: str
    """SHA-256 of the checkpoint that came out."""


def train(run: Run) -> Training:
    """Run the training and keep what is known of it beside its checkpoint.

    The recipe's own floors are off: a run that falls short is to be judged and shown, not hidden.

    Raises:
        ConchError: the command did not end with exit code 0.
        Interrupted: this process was asked to end; the training was, too.
    """
    date, commit = f"{datetime.now(UTC):%Y-%m-%d}", _commit_of_training()
    used, started, busy = _seconds_of_children(), time.perf_counter(), _busy_seconds()
    process = subprocess.Popen([sys.executable, "-m", "training", *run.arguments, "--no-floors"])
    try:
        code = process.wait()
    except Interrupted:
        _stop(process)
        raise
    if code:
        raise ConchError(f"{run.name}: `{run.command}` ended with exit code {code}; its own words are above")
    seconds = time.perf_counter() - started
    others = (_busy_seconds() - busy) - (_seconds_of_children() - used)
    manifest = read_manifest(run.recipe)
    training = Training(
        command=run.command,
        seconds=round(seconds, 1),
        others=round(max(0.0, others) / (seconds * (os.cpu_count() or 1)), 3),
        date=date,
        machine=describe_machine() + (f", {gpu}" if (gpu := manifest["machine"]["gpu"]) else ""),
        commit=commit,
        weights=manifest["sha256"]["weights"],
    )
    store.write(_record(run), asdict(training))
    return training


def training_at_hand(run: Run) -> Training | None:
    """What is known of the training that left the checkpoint; None where it was not this run's, or not timed.

    Raises:
        ConchError: what was kept of it is damaged.
    """
    training = store.read(_record(run), lambda content: Training(**content), run.runner)
    if training is None or training.command != run.command:
        return None
    return training if training.weights == read_manifest(run.recipe)["sha256"]["weights"] else None


def _record(run: Run) -> Path:
    return artifacts_folder() / "trainings" / f"{run.name}.json"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the training end in order, by force where it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine was started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0) - getattr(times, "guest", 0))


def _commit_of_training() -> str | None:
    """The commit, marked only where the trainings' own code was changed: pages written by a run before do not count."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        changed = git("status", "--porcelain", "--", "training", "constraints.txt")
        return git("rev-parse", "HEAD").strip() + ("+" if changed.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None
