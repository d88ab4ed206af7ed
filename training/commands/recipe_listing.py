"""The shipped recipes in a table: what each is, what it serves, and what its weights have to reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.table import Table

from conch.command_line import OUT, print_json
from training.catalogue import SHIPPED, family, find_recipe


@dataclass(frozen=True)
class Listed:
    """One recipe, as it is without flags."""

    name: str
    family: str
    """Its folder; of the five of the demo, none."""
    about: str
    serves: list[str]
    """Inputs and answers of each served model."""
    learns_by: str
    """Gradient descent, or what stands in its place."""
    data: str
    floors: dict[str, float]
    """By metric."""


def show_recipes(json: bool) -> int:
    """Show all shipped recipes; the exit code."""
    found = list_recipes()
    if json:
        print_json([asdict(one) for one in found])
    else:
        OUT.print(_table(found))
    return 0


def list_recipes() -> list[Listed]:
    """The five of the demo first, the others by family and name."""
    found = []
    for name in SHIPPED:
        recipe = find_recipe(name)
        about = (recipe.__doc__ or "").strip().splitlines()[0]
        floors = dict(recipe.floors.get(recipe.data, {}))
        found.append(Listed(name, family(name), about, list(recipe.serves), recipe.learns_by, recipe.data, floors))
    return found


def _table(found: list[Listed]) -> Table:
    table = Table()
    for column in ("recipe", "family", "what it is", "serves", "floor"):
        table.add_column(column, no_wrap=column in ("recipe", "family"))
    for one in found:
        floors = ", ".join(f"{metric} {bound:g}" for metric, bound in one.floors.items())
        table.add_row(one.name, one.family or "demo", one.about, "; ".join(one.serves), f"{floors} ({one.data})")
    return table
