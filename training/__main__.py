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

from rich.console import Console

from training.catalogue import SHIPPED, find_recipe
from training.errors import ConchError

OUT, ERR = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
# The GAN is judged by the trained classifier.
ORDER = ("cnn", "resnet", "lstm", "autoencoder", "gan")


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=len(sys.argv) < 3 or sys.argv[1].startswith("-"),
    )  # fmt: skip
    parser.add_argument("recipe", help=f"one of {', '.join(SHIPPED)}, all, or the path of a .py file with a Recipe")
    arguments, settings = parser.parse_known_args()
    try:
        names = ORDER if arguments.recipe == "all" else (arguments.recipe,)
        for name in names:
            _train_one(name, settings)
    except ConchError as error:
        ERR.print(f"[red]error:[/] {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        ERR.print("stopped; no checkpoint was changed")
        return 130
    return 0


def _train_one(name_or_path: str, settings: list[str]) -> None:
    recipe_class = find_recipe(name_or_path)
    import tyro

    from training.fit import is_up_to_date, train

    def command(recipe: tyro.conf.OmitArgPrefixes[recipe_class], if_changed: bool = False, floors: bool = True):  # type: ignore[valid-type,no-untyped-def]
        return recipe, if_changed, floors

    command.__doc__ = f"""{recipe_class.__doc__}

    Args:
        recipe: The model's settings.
        if_changed: Do nothing where the checkpoint was made from the same code, settings, data and versions.
        floors: Refuse weights whose score is below what the recipe is known to reach on this data.
    """
    recipe, if_changed, floors = tyro.cli(command, prog=f"python -m training {name_or_path}", args=settings)
    data = recipe.dataset()
    if if_changed and is_up_to_date(recipe, data):
        OUT.print(f"{recipe.name()}: up to date")
        return
    OUT.print(f"[bold]{recipe.name()}[/] on {data.name}, {recipe.epochs} epochs")
    checkpoint, metrics = train(recipe, data, floors)
    shown = ", ".join(f"{metric.name} {metric}" for metric in metrics)
    OUT.print(f"{recipe.name()}: {shown} in {checkpoint.manifest['training_seconds']:.0f} s of training")


if __name__ == "__main__":
    sys.exit(main())
