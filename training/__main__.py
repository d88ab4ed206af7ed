"""Train a recipe and leave its checkpoint in artifacts/checkpoints/<recipe>.

examples:
  python -m training cnn
  python -m training resnet --epochs 20 --seed 7
  python -m training path/to/mine.py
  python -m training all --if-changed
  python -m training resnet --precision bf16-mixed --compile
  python -m training resnet --devices 2      two GPUs, or two processes where there is none
  python -m training cnn --resume --tensorboard
  python -m training cnn --help        every setting of that recipe
  python -m training list              all checkpoints, with score, age and hash
"""

import argparse
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from conch.contracts.errors import ConchError
from training.catalogue import SHIPPED, find_recipe
from training.loop.processes import (
    LOST_A_PEER,
    PeerLost,
    command_line,
    is_supervised,
    is_torchrun,
    rank,
    run_processes,
    watch_supervisor,
)

OUT, ERR = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
# The GAN is judged by the trained classifier.
LAST = "gan"


@dataclass(frozen=True)
class Options:
    """How the run goes, whatever the recipe."""

    if_changed: bool = False
    """Do nothing where the checkpoint was made from the same code, settings, data and versions."""
    floors: bool = True
    """Refuse weights whose score is below what the recipe is known to reach on this data."""
    resume: bool = False
    """Go on with a run of the same settings that was interrupted; start one where there is none."""


def main() -> int:
    """Run the command line; the exit code."""
    if sys.argv[1:2] == ["list"]:
        from training.commands.listing import main as list_checkpoints

        return list_checkpoints(sys.argv[2:])
    if is_supervised():
        watch_supervisor()
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=len(sys.argv) < 3 or sys.argv[1].startswith("-"),
    )  # fmt: skip
    parser.add_argument("recipe", help=f"one of {', '.join(SHIPPED)}, all, or the path of a .py file with a Recipe")
    arguments, settings = parser.parse_known_args()
    try:
        names = sorted(SHIPPED, key=lambda name: name == LAST) if arguments.recipe == "all" else (arguments.recipe,)
        for name in names:
            if code := _train_one(name, settings):
                return code
    except PeerLost as lost:
        if is_supervised():  # who supervises tells
            return LOST_A_PEER
        ERR.print(f"[red]error:[/] {escape(str(lost))}")
        return 1
    except ConchError as error:
        ERR.print(f"[red]error:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        ERR.print("stopped")
        return 130
    return 0


def _train_one(name_or_path: str, settings: list[str]) -> int:
    """Train one recipe; the exit code."""
    recipe_class = find_recipe(name_or_path)
    import tyro

    from training.loop.epochs import Interrupted
    from training.loop.fit import is_up_to_date, train, train_along
    from training.loop.run import Run

    suited, usual = recipe_class.for_data(_named_data(settings)), Run()

    def command(  # type: ignore[no-untyped-def]  # tyro would evaluate the type of the result, too
        recipe: tyro.conf.OmitArgPrefixes[recipe_class] = suited,  # type: ignore[valid-type]
        options: tyro.conf.OmitArgPrefixes[Options] = Options(),
        run: tyro.conf.OmitArgPrefixes[Run] = usual,
    ):
        return recipe, options, run

    command.__doc__ = recipe_class.__doc__
    recipe, options, run = tyro.cli(command, prog=f"python -m training {name_or_path}", args=settings)
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
            code = run_processes(command_line(name_or_path, settings), run.devices, run.nodes)
            return code if code < 128 else _stopped(recipe.name(), code)
        if rank() > 0:
            train_along(recipe, data, options.resume, run)
            return 0
        checkpoint, metrics = train(recipe, data, options.floors, options.resume, run)
    except Interrupted as stop:
        return stop.exit_code if is_supervised() else _stopped(recipe.name(), stop.exit_code)
    shown = ", ".join(f"{metric.name} {metric}" for metric in metrics)
    speed = checkpoint.manifest["examples_per_second"]
    OUT.print(
        f"{recipe.name()}: {shown} in {checkpoint.manifest['training_seconds']:.0f} s of training"
        + (f", {speed:,.0f} examples/s" if speed else "")
    )
    return 0


def _stopped(name: str, code: int) -> int:
    ERR.print(f"stopped; the checkpoint of {name} is as it was; --resume goes on after the last whole epoch")
    return code


def _named_data(settings: list[str]) -> str | None:
    """The value of --data, which is read before the other flags because it decides their defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--data")
    try:
        named: str | None = parser.parse_known_args(settings)[0].data
    except argparse.ArgumentError:  # no value: the full parse tells
        return None
    return named


if __name__ == "__main__":
    sys.exit(main())
