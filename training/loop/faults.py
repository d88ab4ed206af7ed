"""What a recipe's own code raises, in one line."""

from __future__ import annotations

import traceback

from training.recipe import Recipe


def reason(recipe: Recipe, error: Exception) -> str:
    """The error's type and first line, and the last line of the recipe's file that it went through."""
    file = recipe.source()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    where = f" in line {lines[-1]} of {file.name}" if lines else ""
    return f"{type(error).__name__}{where}" + (f": {said.rstrip('.')}" if said else "")
