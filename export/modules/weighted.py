"""The weights of a module of the user's, as every command that takes a module loads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from conch.contracts.errors import ConchError
from export.modules.module_weights import load_torch_weights, load_weights


@dataclass(frozen=True)
class Weights:
    """What was loaded into the module."""

    name: str = "as the module was built"
    files: tuple[Path, ...] = ()
    done: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    """How they were read, a line."""


def load_given_weights(module: nn.Module, weights: Path | None, torch_weights: Path | None) -> Weights:
    """Load the weights of `--weights` or `--torch-weights` into a module, where one of them is given.

    Raises:
        ConchError: both are given, or the file is not the module's.
    """
    if weights and torch_weights:
        raise ConchError("--weights and --torch-weights: one of the two")
    path = weights or torch_weights
    if path is None:
        return Weights()
    loaded = (load_weights if weights else load_torch_weights)(module, path)
    told = (f"{path}: {'; '.join(loaded.done)}",) if loaded.done else ()
    return Weights(path.resolve().name, loaded.files, loaded.done, told)
