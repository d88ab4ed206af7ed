"""Train a recipe and leave its checkpoint in artifacts/checkpoints/<recipe>.

examples:
  python -m training cnn
  python -m training resnet --epochs 20 --seed 7
  python -m training path/to/mine.py
  python -m training all --if-changed
  python -m training cnn --help        every setting of that recipe
"""

import argparse
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from training.catalogue import SHIPPED, find_recipe
from training.errors import ConchError

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
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=len(sys.argv) < 3 or sys.argv[1].startswith("-"),
    )  # fmt: skip
    parser.add_argument("recipe", help=f"one of {', '.join(SHIPPED)}, all, or the path of a .py file with a Recipe")
    arguments, settings = parser.parse_known_args()
    try:
        names = sorted(SHIPPED, key=lambda name: name == LAST) if arguments.recipe == "all" else (arguments.recipe,)
        for name in names:
            _train_one(name, settings)
    except ConchError as error:
        ERR.print(f"[red]error:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        ERR.print("stopped")
        return 130
    return 0


def _train_one(name_or_path: str, settings: list[str]) -> None:
    recipe_class = find_recipe(name_or_path)
    import tyro

    from training.epochs import Interrupted
    from training.fit import is_up_to_date, train

    def command(  # type: ignore[no-untyped-def]  # tyro would evaluate the type of the result, too
        recipe: tyro.conf.OmitArgPrefixes[recipe_class] = recipe_class.for_data(_named_data(settings)),  # type: ignore[valid-type]
        options: tyro.conf.OmitArgPrefixes[Options] = Options(),
    ):
        return recipe, options

    command.__doc__ = recipe_class.__doc__
    recipe, options = tyro.cli(command, prog=f"python -m training {name_or_path}", args=settings)
    data = recipe.dataset()
    if options.if_changed and is_up_to_date(recipe, data):
        OUT.print(f"{recipe.name()}: up to date")
        return
    OUT.print(f"[bold]{recipe.name()}[/] on {data.name}, {recipe.epochs} epochs")
    try:
        checkpoint, metrics = train(recipe, data, options.floors, options.resume)
    except Interrupted as stop:
        ERR.print(
            f"stopped; the checkpoint of {recipe.name()} is as it was; --resume goes on after the last whole epoch"
        )
        sys.exit(stop.exit_code)
    shown = ", ".join(f"{metric.name} {metric}" for metric in metrics)
    OUT.print(f"{recipe.name()}: {shown} in {checkpoint.manifest['training_seconds']:.0f} s of training")


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
