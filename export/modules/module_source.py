"""A torch.nn.Module from a Python file of the user's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from torch import nn

from conch.contracts.errors import ConchError


def load_module(source: str) -> nn.Module:
    """The module that `path/to/file.py:name` stands for, in eval mode.

    `name` is a module, a class of modules, or a function that returns one; the last two are called without arguments.
    Files beside it can be imported by it, as in a script.

    Raises:
        ConchError: there is no such file or name, it raises, or what it gives is no module.
    """
    file, _, name = source.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name.isidentifier():
        raise ConchError(f"{source!r} must be the path of a .py file, a colon and a name in it: path/to/file.py:build")
    if not path.is_file():
        raise ConchError(f"there is no file {path}")
    found = vars(_import(path)).get(name)
    if found is None:
        raise ConchError(f"{path} has no {name!r}")
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ConchError(f"{source} is a {type(found).__name__}; it must be a torch.nn.Module or return one")
        try:
            found = found()
        except Exception as error:  # the user's own code
            raise ConchError(f"{source} raised {type(error).__name__}: {_line(error)}") from error
    if not isinstance(found, nn.Module):
        raise ConchError(f"{source} returned a {type(found).__name__}; it must return a torch.nn.Module")
    return found.eval()


def _import(path: Path) -> Any:
    name = f"_conch_module_{path.stem}"  # never the name of an installed package
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConchError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Last, so that a file there never takes the place of an installed package.
    sys.path.append(str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConchError(f"{path} does not run: {type(error).__name__}: {_line(error)}") from error
    return module


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
