"""Find recipes: the shipped ones by name, anybody's by the path of its file.

Of the shipped ones the five of the demo lie in `training/recipes` itself, all others in a folder of their family.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conch.contracts.errors import ConchError
from training import recipes
from training.checkpoints.manifest import checkpoint_folder, read_manifest, unscored

if TYPE_CHECKING:  # torch and Lightning take seconds to import, listing the names should not
    from training.recipe import Recipe

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
FOLDER = Path(recipes.__path__[0])
FILES = {file.stem: file for file in sorted(FOLDER.rglob("[!_]*.py"))}
DEMO = tuple(name for name, file in FILES.items() if file.parent == FOLDER)
"""The five that `all` means."""
NETWORKS = tuple(name for name in FILES if name not in DEMO)
"""All others: what `networks` means."""
SHIPPED = (*DEMO, *NETWORKS)
GROUPS = {"all": DEMO, "networks": NETWORKS}


def named(word: str) -> tuple[str, ...]:
    """The recipes that a command's word means: those of a group, or the one that it names."""
    return GROUPS.get(word, (word,))


def family(name: str) -> str:
    """The folder of a shipped recipe's family; of the five, none."""
    return FILES[name].parent.name if name in NETWORKS else ""


def _module_of(name: str) -> str:
    return ".".join((recipes.__name__, *FILES[name].relative_to(FOLDER).with_suffix("").parts))


def find_recipe(name_or_path: str) -> type[Recipe]:
    """The recipe class called `name_or_path`: a shipped name ("cnn"), a trained one ("mine"), or a Python file's path.

    Raises:
        ConchError: there is none, the file of a trained one is gone, or the file does not define exactly one.
    """
    if name_or_path in FILES:
        return _only_recipe(importlib.import_module(_module_of(name_or_path)), name_or_path)
    path = Path(name_or_path)
    if path.suffix != ".py":
        path = _file_of_trained(name_or_path)
    if not path.is_file():
        raise ConchError(f"no recipe file {path}: there is no such file")
    if path.stem in FILES and path.resolve() != FILES[path.stem].resolve():
        raise ConchError(f"{path} would overwrite the shipped {path.stem}; give the file another name")
    if not SAFE_NAME.fullmatch(path.stem):
        raise ConchError(f"{path}: a recipe file's name becomes the model's; use letters, digits, '_' and '-' only")
    module_name = f"conch_recipe_{path.stem}"  # a name of its own: a recipe called random.py must not hide Python's
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConchError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConchError(f"{path} does not run: {type(error).__name__}: {error}") from error
    return _only_recipe(module, str(path))


def _file_of_trained(name: str) -> Path:
    """The file that a recipe of this name was last trained from."""
    trained = (checkpoint_folder(name) / "manifest.json").is_file()
    file = (unscored(name) or (read_manifest(name) if trained else {})).get("recipe_file")
    if file is None:
        raise ConchError(
            f"no recipe {name!r}; known are {', '.join(SHIPPED)}, the path of any .py file with a Recipe, and the "
            "name of what was trained from one"
        )
    if not Path(file).is_file():
        raise ConchError(f"{name} was trained from {file}, which is not there; give the path of its recipe file")
    return Path(file)


def origin(recipe: type[Recipe]) -> str:
    """What a command line calls a recipe: a shipped name, or the path of its file."""
    if recipe.name() in FILES and recipe.__module__ == _module_of(recipe.name()):
        return recipe.name()
    path = recipe.source().resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _only_recipe(module: object, origin: str) -> type[Recipe]:
    from training.recipe import Recipe

    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Recipe) and value.__module__ == module.__name__  # type: ignore[attr-defined]
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise ConchError(f"{origin} must define exactly one subclass of training.recipe.Recipe; it defines {names}")
    return found[0]
