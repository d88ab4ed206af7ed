"""How tensors in a row, as an ONNX graph takes them, become the arguments of a module's forward."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from conch.contracts.errors import ConchError
from export.modules.structure import Path, leaves, plain_name
from training.predict import forward_signature

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""

_KEYWORDS = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Call:
    """The arguments of one call, with the tensors taken out."""

    names: tuple[str, ...]
    """Of the tensors, in the order in which they are given."""
    places: tuple[int, ...]
    """Where each is among the leaves."""
    leaves: tuple[Any, ...]
    """What the arguments hold, containers opened; None where a tensor belongs."""
    paths: tuple[Path, ...]
    """Of the leaves: the parameter, and what leads from there to the leaf; without the parameter where it is clear.
    Empty where the call was made from names."""
    spec: pytree.TreeSpec

    @classmethod
    def row(cls, names: Sequence[str]) -> Call:
        """Of tensors that are the arguments themselves."""
        _, spec = pytree.tree_flatten(((0,) * len(names), {}))
        nothing = (None,) * len(names)
        return cls(tuple(names), tuple(range(len(names))), nothing, tuple((name,) for name in names), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Call:
        """Itself: a copy of a module in another precision is called in the same way."""
        return self

    def arguments(self, tensors: Sequence[torch.Tensor]) -> Arguments:
        """The arguments with these tensors in them."""
        filled = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            filled[place] = tensor
        args, kwargs = pytree.tree_unflatten(filled, self.spec)
        return args, kwargs

    @property
    def constants(self) -> dict[str, Any]:
        """By dotted name, what is no tensor and the same in every call."""
        return {".".join(self.paths[i]): leaf for i, leaf in enumerate(self.leaves) if i not in self.places}

    @property
    def plain(self) -> bool:
        """Whether forward takes the tensors as they come, one after the other."""
        return self.means(Call.row(self.names))

    def means(self, other: Call) -> bool:
        """Whether the same tensors make the same arguments."""
        return (self.spec, self.places, self.leaves) == (other.spec, other.places, other.leaves)


def call_with(module: torch.nn.Module, arguments: Arguments) -> Call:
    """The call of these arguments, each tensor named after its parameter and the keys that lead to it.

    A mapping that is all that forward is given names its tensors by its own keys.

    Raises:
        TypeError: forward does not take such arguments.
        ConchError: two tensors would have one name.
    """
    bound = forward_signature(module).bind(*arguments[0], **arguments[1])
    normal: Arguments = (bound.args, bound.kwargs)
    paths = [_short(path, bound) for path in _paths(bound)]
    found, spec = pytree.tree_flatten(normal)
    places = tuple(place for place, leaf in enumerate(found) if isinstance(leaf, torch.Tensor))
    names = tuple(plain_name(paths[place]) for place in places)
    if twins := sorted({name for name in names if names.count(name) > 1}):
        raise ConchError(f"two inputs are called {twins[0]!r}; give them keys that differ")
    return Call(
        names=names,
        places=places,
        leaves=tuple(None if place in places else leaf for place, leaf in enumerate(found)),
        paths=tuple(paths),
        spec=spec,
    )


def calls_by_name(module: torch.nn.Module, names: Sequence[str], constants: Mapping[str, Any]) -> Iterator[Call]:
    """What the names of the inputs may mean, the likeliest first: which it is shows when the module is run.

    Parameters of forward, or what is inside them (`batch.mask`), where all are; else its arguments in their order, or
    the keys of a mapping where it takes one argument.
    """
    known = forward_signature(module)
    kinds = {name: parameter.kind for name, parameter in known.parameters.items()}
    slots = {name: _Slot(name) for name in names}
    named = all(name.partition(".")[0] in kinds for name in names)
    meanings: list[Arguments] = []
    for lists in (list, tuple):
        tree = _tree(slots | dict(constants), lists)
        if named or inspect.Parameter.VAR_KEYWORD in kinds.values():
            meanings += _by_parameter(known, tree)
        if not named:
            meanings.append((tuple(slots.values()), _tree(constants, lists)))
            meanings += [((tree,), {})] if _takes_one(known) else []
        if not any("." in name for name in (*names, *constants)):
            break
    for arguments in meanings:
        if call := _filled(names, arguments):
            yield call


@dataclass(frozen=True)
class _Slot:
    """Where the tensor of that name goes."""

    name: str


def _by_parameter(known: inspect.Signature, given: Mapping[str, Any]) -> Iterator[Arguments]:
    """The arguments of these names; none where forward does not know one of them."""
    rest = dict(given)
    ordered: dict[str, Any] = {}
    for name, parameter in known.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            ordered[name], rest = rest, {}
        elif name in rest:
            ordered[name] = rest.pop(name)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                ordered[name] = tuple(ordered[name]) if isinstance(ordered[name], list | tuple) else (ordered[name],)
    if not rest:
        bound = inspect.BoundArguments(known, ordered)
        yield bound.args, bound.kwargs


def _takes_one(known: inspect.Signature) -> bool:
    """Whether one argument is enough."""
    try:
        known.bind(None)
    except TypeError:
        return False
    return True


def _filled(names: Sequence[str], arguments: Arguments) -> Call | None:
    """The call of arguments with slots in place of tensors; None where one is missing."""
    found, spec = pytree.tree_flatten(arguments)
    places = {leaf.name: place for place, leaf in enumerate(found) if isinstance(leaf, _Slot)}
    if set(places) != set(names):
        return None
    constants = tuple(None if isinstance(leaf, _Slot) else leaf for leaf in found)
    return Call(tuple(names), tuple(places[name] for name in names), constants, (), spec)


def _tree(named: Mapping[str, Any], lists: type) -> dict[str, Any]:
    """`{"a.x": 1, "a.y": 2, "b.0": 3}` as `{"a": {"x": 1, "y": 2}, "b": [3]}`; keys that count from 0 make a list."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in named.items():
        root, _, rest = name.partition(".")
        groups.setdefault(root, {})[rest] = value
    found: dict[str, Any] = {}
    for root, group in groups.items():
        inside = group[""] if "" in group else _tree(group, lists)
        counted = isinstance(inside, dict) and list(inside) == [str(place) for place in range(len(inside))]
        found[root] = lists(inside.values()) if counted and inside and "" not in group else inside
    return found


def _paths(bound: inspect.BoundArguments) -> Iterator[Path]:
    """Of each leaf of `(bound.args, bound.kwargs)`, in the order of `pytree.tree_flatten`."""
    positions = [name for name, one in bound.signature.parameters.items() if one.kind not in _KEYWORDS]
    several = bool(positions) and bound.signature.parameters[positions[-1]].kind is inspect.Parameter.VAR_POSITIONAL
    for place, value in enumerate(bound.args):
        inside = several and place >= len(positions) - 1
        root = (positions[-1], str(place - len(positions) + 1)) if inside else (positions[place],)
        yield from (path for path, _ in leaves(value, root))
    for name, value in bound.kwargs.items():
        yield from (path for path, _ in leaves(value, (name,)))


def _short(path: Path, bound: inspect.BoundArguments) -> Path:
    """Without the parameter, where that is one mapping and nothing else is given."""
    given = (*bound.args, *bound.kwargs.values())
    if len(given) == 1 and len(path) > 1 and isinstance(given[0], Mapping) and path[0] not in given[0]:
        return path[1:]
    return path
