"""What a recipe's own code raises, in one line."""

from __future__ import annotations

import textwrap
import traceback

from training.recipe import Recipe

LONGEST = 300


def reason(recipe: Recipe, error: Exception) -> str:
    """The error's type and message, shortened, and the last line of the recipe's file that it went through."""
    file = recipe.source()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    said = textwrap.shorten(str(error), LONGEST, placeholder=" ...")
    where = f" in line {lines[-1]} of {file.name}" if lines else ""
    return f"{type(error).__name__}{where}" + (f": {said.rstrip('.')}" if said else "")
