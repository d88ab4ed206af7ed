"""Train a recipe and leave its checkpoint in artifacts/checkpoints/<recipe>.

examples:
  conch train cnn
  conch train resnet --epochs 20 --seed 7
  conch train path/to/mine.py
  conch train all --if-changed        the five of the demo; some of the others are judged by its cnn
  conch train networks --if-changed   all others
  conch train resnet --precision bf16-mixed --compile
  conch train resnet --devices 2      two GPUs, or two processes where there is none
  conch train cnn --resume --tensorboard
  conch train path/to/mine.py --score-only   score the weights of a run whose score failed
  conch train cnn --help              every setting of that recipe
  conch train list                    all checkpoints, with score, age and hash
  conch train list --recipes          all recipes, with what they serve and their floor
"""

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from conch import command_line
from conch.command_line import ERR, OUT
from conch.contracts.artifacts import artifacts_folder
from conch.contracts.whole import sweep
from training.catalogue import find_recipe, named
from training.checkpoints.manifest import checkpoint_folder
from training.loop.processes import (
    LOST_A_PEER,
    PeerLost,
    command_line_of,
    is_supervised,
    is_torchrun,
    rank,
    run_processes,
    watch_supervisor,
)

if TYPE_CHECKING:  # torch takes seconds to import
    from training.checkpoints.checkpoint import Checkpoint
    from training.score import Metric

# They read the checkpoint of another: a judge, or the network of their loss.
LAST = ("gan", "conditional_gan", "pix2pix", "style")


@dataclass(frozen=True)
class Options:
    """How the run goes, whatever the recipe."""

    if_changed: bool = False
    """Do nothing where the checkpoint was made from the same code, settings, data and versions."""
    floors: bool = True
    """Refuse weights whose score is below what the recipe is known to reach on this data."""
    resume: bool = False
    """Go on with a run of the same settings that was interrupted; start one where there is none."""
    trial: bool = True
    """Try loss, answers and score on a few rows before the first epoch, and refuse what does not fit."""
    score_only: bool = False
    """Train nothing: score the weights that were kept when their score failed, with the settings of their run."""


def main(words: Sequence[str] | None = None) -> int:
    """Run `conch train` with these words; the exit code."""
    recipe, *settings = (sys.argv[1:] if words is None else list(words)) or [""]
    if recipe == "list":
        from training.commands.listing import main as list_checkpoints

        return list_checkpoints(settings)
    if is_supervised():
        watch_supervisor()
    if not recipe or recipe.startswith("-"):
        tyro.cli(train, prog="conch train", description=__doc__, args=[recipe] if recipe else [])
    return command_line.run(lambda: train(recipe, settings))


def train(recipe: tyro.conf.Positional[str], settings: tyro.conf.Suppress[Sequence[str]] = ()) -> int:
    """Train one recipe or several.

    Args:
        recipe: One of the shipped recipes, all (the five of the demo), networks (all others), or the path of a .py
            file with a Recipe; with --help behind it, its settings are shown.
        settings: The flags behind it.
    """
    for name in sorted(named(recipe), key=lambda name: name in LAST):
        try:
            code = _train_one(name, list(settings))
        except PeerLost:
            if not is_supervised():  # who supervises tells
                raise
            return LOST_A_PEER
        if code:
            return code
    return 0


def _train_one(name_or_path: str, settings: list[str]) -> int:
    """Train one recipe; the exit code."""
    recipe_class = find_recipe(name_or_path)
    from training.checkpoints.up_to_date import is_up_to_date
    from training.loop.fit import train, train_along
    from training.loop.judging import score_kept
    from training.loop.run import Run
    from training.loop.stopping import RunStopped

    suited, usual = recipe_class.for_data(_named_data(settings)), Run()

    def command(  # type: ignore[no-untyped-def]  # tyro would evaluate the type of the result, too
        recipe: tyro.conf.OmitArgPrefixes[recipe_class] = suited,  # type: ignore[valid-type]
        options: tyro.conf.OmitArgPrefixes[Options] = Options(),
        run: tyro.conf.OmitArgPrefixes[Run] = usual,
    ):
        return recipe, options, run

    command.__doc__ = recipe_class.__doc__
    recipe, options, run = tyro.cli(command, prog=f"conch train {name_or_path}", args=settings)
    if options.score_only:
        _say_what_came_out(name_or_path, *score_kept(name_or_path, options.floors))
        return 0
    run.device_kind()  # refuses what this machine cannot do
    data = recipe.dataset()
    if options.if_changed and not is_supervised() and is_up_to_date(recipe, data, run):
        if rank() == 0:
            OUT.print(f"{recipe.name()}: up to date")
        return 0
    if rank() == 0 and not is_supervised():
        several = f", {run.processes} processes" * (run.processes > 1)
        OUT.print(f"[bold]{recipe.name()}[/] on {data.name}, {recipe.epochs} epochs{several}")
    try:
        if run.processes > 1 and not is_supervised() and not is_torchrun():
            try:
                code = run_processes(command_line_of(name_or_path, settings), run.devices, run.nodes)
            finally:  # one that had to be killed left what it was writing
                with contextlib.suppress(OSError):
                    sweep(artifacts_folder() / "checkpoints")
            return code if code < 128 else _stopped(recipe.name(), code)
        if rank() > 0:
            train_along(recipe, data, options.resume, run)
            return 0
        checkpoint, metrics = train(recipe, data, options.floors, options.resume, run, options.trial)
    except RunStopped as stop:
        return stop.exit_code if is_supervised() else _stopped(recipe.name(), stop.exit_code)
    _say_what_came_out(name_or_path, checkpoint, metrics)
    return 0


def _say_what_came_out(name_or_path: str, checkpoint: "Checkpoint", metrics: "list[Metric]") -> None:
    """The score and what holds it, where the checkpoint is, and what to type next."""
    name, manifest = checkpoint.recipe.name(), checkpoint.manifest
    shown, speed = ", ".join(f"{metric.name} {metric}" for metric in metrics), manifest["examples_per_second"]
    lines = [
        f"{name}: {shown} in {manifest['training_seconds']:.0f} s of training"
        + (f", {speed:,.0f} examples/s" if speed else ""),
        *_remarks(checkpoint, metrics),
        f"checkpoint: {checkpoint_folder(name)}",
        f"next: conch export {shlex.quote(name_or_path)}",
    ]
    for line in lines:
        OUT.print(line, soft_wrap=True, highlight=False, markup=False)


def _remarks(checkpoint: "Checkpoint", metrics: "list[Metric]") -> Iterator[str]:
    """What a reader should know of a score that no floor holds."""
    from training.recipe import accepted

    recipe, leading = checkpoint.recipe, metrics[0]
    if floors := recipe.floors.get(recipe.data, {}):
        yield from (f"taken with --no-floors: {short}" for short in accepted(metrics, floors))
        return
    without_looking = {metric.name: metric for metric in recipe.baseline(checkpoint.data)}.get(leading.name)
    compared = f"; the same answer to everything reaches {without_looking}" if without_looking else ""
    yield (
        f"no floor: nothing says whether {leading.name} {leading} is good enough{compared}. In the recipe, "
        f"floors = {{{recipe.data!r}: {{{leading.name!r}: ...}}}} refuses weights that do not reach it"
    )


def _stopped(name: str, code: int) -> int:
    ERR.print(f"stopped; no checkpoint of {name} is half-written; --resume goes on after the last whole epoch")
    return code


def _named_data(settings: list[str]) -> str | None:
    """The value of --data, which is read before the other flags because it decides their defaults."""
    for place, word in enumerate(settings):
        if word.startswith("--data="):
            return word.removeprefix("--data=")
        if word == "--data":
            return next(iter(settings[place + 1 : place + 2]), None)  # none: the full parse tells
    return None
