"""A torch.nn.Module from a Python file of the user's, and its weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from conch.contracts.errors import ConchError

SHOWN_NAMES = 5
"""Names of a mismatch that a message lists."""


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


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into `module`; names and shapes have to agree.

    Raises:
        ConchError: the file is missing, damaged or no safetensors file, or its tensors are not the module's.
    """
    try:
        _check_names(path, *load_model(module, path, strict=False))
    except OSError as error:
        raise ConchError(f"--weights {path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ConchError(
            f"--weights {path} is no sound safetensors file ({_line(error)}); write one with "
            "safetensors.torch.save_file(module.state_dict(), path), or give a PyTorch file as --torch-weights"
        ) from error
    except RuntimeError as error:  # shapes
        raise ConchError(f"--weights {path} does not fit the module: {_line(error)}") from error


def load_torch_weights(module: nn.Module, path: Path) -> None:
    """Load a state dict saved by `torch.save` into `module`, with PyTorch's unpickler that makes nothing but tensors.

    Raises:
        ConchError: the file is missing, damaged, needs other objects, or its tensors are not the module's.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConchError(f"--torch-weights {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # damaged files end in many kinds
        raise ConchError(
            f"--torch-weights {path} is no file of tensors alone ({_line(error)[:200]}); save "
            "module.state_dict() with safetensors where you trust the file"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # as Lightning and many training scripts write it
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConchError(f"--torch-weights {path} holds a {type(state).__name__}; it must be a module's state_dict()")
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ConchError(f"--torch-weights {path} does not fit the module: {_line(error)}") from error
    _check_names(path, missing, unexpected)


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


def _check_names(path: Path, missing: Any, unexpected: Any) -> None:
    parts = [
        f"{kind} {', '.join(sorted(names)[:SHOWN_NAMES])}{', ...' if len(names) > SHOWN_NAMES else ''}"
        for kind, names in (("the file lacks", missing), ("the module lacks", unexpected))
        if names
    ]
    if parts:
        raise ConchError(f"{path} does not fit the module: {'; '.join(parts)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
