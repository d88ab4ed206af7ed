"""A torch.nn.Module, examples of what it takes, or a function, from a Python file of the user's."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from conch.contracts.errors import ConchError


@dataclass(frozen=True)
class Built:
    """What a file's name stands for."""

    module: nn.Module
    """In eval mode."""
    examples: tuple[Any, ...] = ()
    """What it takes, as the function that built it says."""


def load_module(source: str) -> Built:
    """The module that `path/to/file.py:name` stands for.

    `name` is a module, a class of modules, or a function that returns one, or a tuple of one and examples of what it
    takes; the last two are called without arguments. Files beside it can be imported by it, as in a script.

    Raises:
        ConchError: there is no such file or name, it raises, or what it gives is no module.
    """
    found = _found(source, nn.Module)
    examples: tuple[Any, ...] = ()
    if isinstance(found, tuple) and found and isinstance(found[0], nn.Module):
        found, *given = found
        examples = tuple(given)
    if not isinstance(found, nn.Module):
        raise ConchError(
            f"{source} returned a {type(found).__name__}; it must return a torch.nn.Module, or a tuple of one and an "
            "example of what it takes"
        )
    return Built(found.eval(), examples)


def load_example(source: str) -> Any:
    """The value that `path/to/file.py:name` stands for, or what it returns.

    Raises:
        ConchError: there is no such file or name, or it raises.
    """
    return _found(source, None)


def _found(source: str, wanted: type | None) -> Any:
    """What is there under a name, called where it is not `wanted` yet.

    Of a file that was run for its module the example is taken from the same run: they share its classes.
    """
    found = named_in_file(source, again=wanted is not None)
    if isinstance(found, wanted) if wanted else not callable(found):
        return found
    if not callable(found):
        raise ConchError(f"{source} is a {type(found).__name__}; it must be a torch.nn.Module or return one")
    try:
        return found()
    except Exception as error:  # the user's own code
        raise ConchError(f"{source} raised {type(error).__name__}: {_line(error)}") from error


def named_in_file(source: str, again: bool = False) -> Any:
    """What `path/to/file.py:name` stands for, as it is there; the file is run `again` where it was before.

    Raises:
        ConchError: there is no such file or name, or the file raises.
    """
    file, _, name = source.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name.isidentifier():
        raise ConchError(f"{source!r} must be the path of a .py file, a colon and a name in it: path/to/file.py:build")
    if not path.is_file():
        raise ConchError(f"there is no file {path}")
    found = vars(_import(path, again)).get(name)
    if found is None:
        raise ConchError(f"{path} has no {name!r}")
    return found


def _import(path: Path, again: bool) -> Any:
    """The file as a module, run `again` where it was before and is the same."""
    name = f"_conch_module_{path.stem}"  # never the name of an installed package
    written = (str(path.resolve()), path.stat().st_mtime_ns)
    if not again and getattr(sys.modules.get(name), "__conch_written__", None) == written:
        return sys.modules[name]
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
        del sys.modules[name]
        raise ConchError(f"{path} does not run: {type(error).__name__}: {_line(error)}") from error
    vars(module)["__conch_written__"] = written
    return module


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
