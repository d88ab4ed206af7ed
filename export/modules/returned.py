"""What a module returned, as the named tensors that can be served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from conch.contracts.errors import ConchError
from export.conversion.convert import ExportError
from export.modules.structure import Path, is_sequence, leaves, plain_name

SHOWN = 5
OUTPUT = "output"


@dataclass(frozen=True)
class Returned:
    """The parts of what a module returned, without those that are None."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """By name."""
        return {name: one for name, one in zip(self.names, self.values, strict=True) if isinstance(one, torch.Tensor)}


def read_returned(returned: Any) -> Returned:
    """Its parts, named after the keys and fields that lead to them.

    `logits`, `aux.boxes`; the parts of a tuple or list are `output_0`, `output_1`, and one alone is `output`.

    Raises:
        ConchError: two parts have one name.
    """
    parts = [(path, value) for path, value in leaves(returned) if value is not None]
    rooted = is_sequence(returned)
    alone = len({path[:1] for path, _ in parts}) == 1
    names = [_name(path, rooted, alone) for path, _ in parts]
    if twins := sorted({name for name in names if names.count(name) > 1}):
        raise ExportError(f"the module returns two parts called {twins[0]!r}; give them keys that differ")
    return Returned(tuple(path for path, _ in parts), tuple(names), tuple(value for _, value in parts))


def chosen_outputs(returned: Any, wanted: Sequence[str], taken: Sequence[str]) -> tuple[tuple[Path, ...], list[str]]:
    """The paths of the tensors that are served, and the names they are served under.

    Args:
        returned: what the module returned.
        wanted: names of parts, to serve those alone; or a new name for each part; or none.
        taken: the names of the inputs.

    Raises:
        ConchError: what is returned cannot be served, or the names do not fit it.
    """
    found = read_returned(returned)
    place = {name: index for index, name in enumerate(found.names)}
    chosen = list(wanted) if wanted and set(wanted) <= set(place) else list(place)
    if not chosen or not all(isinstance(found.values[place[name]], torch.Tensor) for name in chosen):
        raise ExportError(_refusal(returned, found))
    names = list(wanted or (f"{name}_out" if name in taken else name for name in chosen))
    if len(names) != len(chosen):
        raise ConchError(
            f"--output: {len(names)} names ({', '.join(names)}) for {len(chosen)} outputs of the module "
            f"({', '.join(chosen)}); name some of those, or give each a new name"
        )
    if twice := sorted({name for name in names if [*names, *taken].count(name) > 1}):
        raise ConchError(
            f"--output {twice[0]}: the name is taken; inputs and outputs of a graph have names of their own"
        )
    return tuple(found.paths[place[name]] for name in chosen), names


def _name(path: Path, rooted: bool, alone: bool) -> str:
    if rooted:
        path = path[1:] if alone else (f"{OUTPUT}_{path[0]}", *path[1:])
    return plain_name(path) or OUTPUT


def _refusal(returned: Any, found: Returned) -> str:
    others = [
        f"{name!r} is {_kind(value)}"
        for name, value in zip(found.names, found.values, strict=True)
        if not isinstance(value, torch.Tensor)
    ]
    if found.tensors:
        flags = " ".join(f"--output {name}" for name in list(found.tensors)[:SHOWN])
        return f"the module returns parts that are no tensors: {', '.join(others[:SHOWN])}; serve the others: {flags}"
    return (
        f"the module returns {_described(returned)}; it must return tensors, alone or in tuples, dictionaries and "
        f"dataclasses: wrap it in a module whose forward returns them{_example(returned)}"
    )


def _described(returned: Any) -> str:
    return f"an empty {type(returned).__name__}" if not list(leaves(returned)) else _kind(returned)


def _example(returned: Any) -> str:
    """How the first tensor is taken out, in Python."""
    fields = {} if isinstance(returned, Mapping) else getattr(returned, "__dict__", {})
    taken = [name for name, value in fields.items() if isinstance(value, torch.Tensor)]
    return f", as self.model(...).{taken[0]}" if taken else ""


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"a{'n' if name[0] in 'aeiouAEIOU' else ''} {name}"
