"""Containers with tensors inside, as forward takes and returns them: by the paths of what they hold.

PyTorch's pytrees know tuples, lists, dictionaries and named tuples. A dataclass and a mapping of a class of its own (as
Hugging Face's ModelOutput and BatchEncoding are) become known here when the first one is met.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch.utils import _pytree as pytree

Path = tuple[str, ...]
"""Keys, fields and places, from the outermost container to what it holds."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Everything in `value` that is no container, in the order of `pytree.tree_flatten`; itself where it is none."""
    _make_known(value)
    parts, _ = pytree.tree_flatten_with_path(value, is_leaf=lambda one: one is not value)
    if len(parts) == 1 and not parts[0][0]:
        yield path, value
        return
    fields = getattr(type(value), "__match_args__", ()) if isinstance(value, tuple) else ()
    for (key,), part in parts:
        yield from leaves(part, (*path, _word(key, fields)))


def plain_name(path: Path) -> str:
    """In letters, digits, `_`, `.` and `-`: a name that every client, file and graph takes."""
    return ".".join(re.sub(r"[^\w.-]+", "_", word) for word in path)


def is_sequence(value: Any) -> bool:
    """Whether its parts have places and no names."""
    return isinstance(value, tuple | list) and not getattr(type(value), "__match_args__", ())


def _word(key: Any, fields: tuple[str, ...]) -> str:
    if isinstance(key, pytree.SequenceKey):
        return fields[key.idx] if key.idx < len(fields) else str(key.idx)
    return str(key.key if isinstance(key, pytree.MappingKey) else key.name if hasattr(key, "name") else key)


def _make_known(value: Any) -> None:
    kind = type(value)
    if kind in pytree.SUPPORTED_NODES or pytree.is_namedtuple_instance(value):
        return
    if isinstance(value, Mapping):
        pytree.register_pytree_node(kind, _parts, _mapping, flatten_with_keys_fn=_named_parts)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        pytree.register_dataclass(kind)


def _parts(mapping: Any) -> tuple[list[Any], Any]:
    return list(mapping.values()), (mapping, list(mapping))


def _named_parts(mapping: Any) -> tuple[list[tuple[Any, Any]], Any]:
    parts, context = _parts(mapping)
    return [(pytree.MappingKey(key), part) for key, part in zip(context[1], parts, strict=True)], context


def _mapping(parts: Iterable[Any], context: Any) -> Any:
    """A copy of the first one, which may hold more than its keys."""
    filled = copy.copy(context[0])
    for key, part in zip(context[1], parts, strict=True):
        filled[key] = part
    return filled
