"""A module as the reference of an ONNX file that somebody else made: its arguments and answers in the file's order."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch

from export.modules.returned import read_returned
from export.references.matching import Mismatch, Slot
from training.predict import forward_signature


class AsFile(torch.nn.Module):
    """Takes the file's inputs in the file's order, and gives its outputs in the file's order."""

    def __init__(self, module: torch.nn.Module, arguments: Sequence[str], outputs: Sequence[str] = ()) -> None:
        """Wrap `module`.

        Args:
            module: in eval mode.
            arguments: by place of the file's inputs, the name of the argument; "" for one that is given by place.
            outputs: by place of the file's outputs, what the module's is called; without, all as they come.
        """
        super().__init__()
        self.module = module
        self.arguments = tuple(arguments)
        self.outputs = tuple(outputs)
        self.training = module.training  # without touching the modules inside

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All outputs."""
        returned = self.returned(*inputs)
        return tuple(returned[name] for name in self.outputs or returned)

    def returned(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """All tensors that the module gives, by name."""
        by_name = {name: one for name, one in zip(self.arguments, inputs, strict=True) if name}
        unnamed = [one for name, one in zip(self.arguments, inputs, strict=True) if not name]
        return read_returned(self.module(*unnamed, **by_name)).tensors


def forward_slots(module: torch.nn.Module, wanted: Sequence[Slot], called: str) -> list[Slot]:
    """As many of forward's arguments as the file has inputs: those that are needed, then those the file names.

    Raises:
        Mismatch: it needs more, or takes fewer.
    """
    parameters = list(forward_signature(module).parameters.values())
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [parameter for parameter in parameters if parameter.kind in plain]
    needed = [parameter.name for parameter in named if parameter.default is inspect.Parameter.empty]
    spare = [parameter.name for parameter in named if parameter.name not in needed]
    names = {slot.name for slot in wanted}
    spare.sort(key=lambda name: name not in names)  # stable: forward's own order else
    chosen = [*needed, *spare][: max(len(needed), len(wanted))]
    slots = [Slot(parameter.name) for parameter in named if parameter.name in chosen]
    unnamed = len(wanted) - len(slots)
    if unnamed > 0 and any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return [Slot("")] * len(wanted)  # those before it can only be given by place then
    if unnamed:
        raise Mismatch(
            f"the file has {len(wanted)} inputs ({', '.join(map(str, wanted))}), the forward of {called} takes "
            f"{', '.join(parameter.name for parameter in named) or 'none'}"
        )
    return slots
