"""What a module returned, as the tensors that can be served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from conch.contracts.errors import ConchError

SHOWN = 5


def returned_tensors(returned: Any) -> tuple[torch.Tensor, ...]:
    """The tensors that a module returned, one or several.

    Raises:
        ConchError: it returned something else, or something else beside them; what, and what to write instead.
    """
    tensors = (returned,) if isinstance(returned, torch.Tensor) else returned
    if isinstance(tensors, tuple | list) and tensors and all(isinstance(one, torch.Tensor) for one in tensors):
        return tuple(tensors)
    raise ConchError(
        f"the module returns {_described(returned)}; it must return a tensor or a tuple of tensors: wrap it in a "
        f"module whose forward returns them alone{_example(returned)}"
    )


def _described(returned: Any) -> str:
    if isinstance(returned, tuple | list) and returned:
        others = [f"{place} is {_kind(one)}" for place, one in enumerate(returned) if not isinstance(one, torch.Tensor)]
        return f"{_kind(returned)} of {len(returned)} whose element {', '.join(others[:SHOWN])}"
    if isinstance(returned, Mapping) and returned:
        names = [f"{name!r} ({_kind(value)})" for name, value in returned.items()]
        return f"{_kind(returned)} of {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
    return f"an empty {type(returned).__name__}" if isinstance(returned, tuple | list | Mapping) else _kind(returned)


def _example(returned: Any) -> str:
    """How the first tensor is taken out, in Python."""
    if isinstance(returned, Mapping):
        pairs = [(f"[{name!r}]", value) for name, value in returned.items()]
    elif isinstance(returned, tuple | list):
        pairs = [(f"[{place}]", value) for place, value in enumerate(returned)]
    else:
        pairs = [(f".{name}", value) for name, value in getattr(returned, "__dict__", {}).items()]
    taken = [access for access, value in pairs if isinstance(value, torch.Tensor)]
    return f", as self.model(...){taken[0]}" if taken else ""


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"a{'n' if name[0] in 'aeiouAEIOU' else ''} {name}"
