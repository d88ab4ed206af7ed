"""A module as a graph sees it: tensors in a row go in, tensors in a row come out."""

from __future__ import annotations

from typing import Any

import torch

from conch.contracts.errors import ConchError
from export.modules.call import Call
from export.modules.structure import Path, is_sequence, leaves


class Flat(torch.nn.Module):
    """Calls a module by a `Call`, and returns the tensors at `outputs` of what it returns, in that order."""

    def __init__(self, module: torch.nn.Module, call: Call, outputs: tuple[Path, ...], chosen: bool) -> None:
        """Args: `chosen` says that what the module returns beside `outputs` is left out on purpose."""
        super().__init__()
        self.module = module
        self.call = call
        self.outputs = outputs
        self.chosen = chosen
        self.training = module.training  # without touching the modules inside

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors of one call.

        Raises:
            ConchError: the module did not return those tensors.
        """
        args, kwargs = self.call.arguments(tensors)
        returned = leaves(self.module(*args, **kwargs))
        found = {path: part for path, part in returned if isinstance(part, torch.Tensor)}
        if not found.keys() >= set(self.outputs) or (len(found) > len(self.outputs) and not self.chosen):
            raise ConchError(
                f"the module returned the parts {_shown(found)} and before {_shown(self.outputs)}: a graph always has "
                "the same outputs. Return one tensor of them all, as torch.stack makes it, or serve those that are "
                "always there: --output NAME"
            )
        return tuple(found[path] for path in self.outputs)


def flattened(module: torch.nn.Module, call: Call, outputs: tuple[Path, ...], returned: Any) -> torch.nn.Module:
    """`module` itself where it takes tensors in a row and returns one, or a tuple of those that are served."""
    parts = list(leaves(returned))
    tensors = tuple(path for path, part in parts if isinstance(part, torch.Tensor))
    simple = not parts[0][0] or (is_sequence(returned) and all(len(path) == 1 for path in outputs))
    if call.plain and simple and len(tensors) == len(parts) and outputs == tensors:
        return module
    return Flat(module, call, outputs, chosen=len(outputs) < len(tensors))


def _shown(paths: Any) -> str:
    return ", ".join(".".join(path) for path in paths) or "of one tensor"
