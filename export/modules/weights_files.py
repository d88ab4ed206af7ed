"""The tensors of a weights file as people have it: one file, the shards that an index names, or a folder of either."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from conch.contracts.errors import ConchError

_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)")
SHOWN_FILES = 5


@dataclass(frozen=True)
class Stored:
    """What the files hold. Nested dictionaries are one: `{"model": {"weight": ...}}` has the name `model.weight`."""

    tensors: dict[str, Any]
    """By name; a module's extra state may be no tensor."""
    files: tuple[Path, ...]
    """What was read, an index first."""
    same: Mapping[str, str] = field(default_factory=dict)
    """Names that the file left out because their tensor is another's, as `safetensors.torch.save_model` writes them."""


def stored_weights(path: Path) -> Stored:
    """What safetensors hold: a file, a `.safetensors.index.json` with its shards, or a folder with one of the two.

    Raises:
        ConchError: there is no such file, it is damaged, or the folder has more than one reading.
    """
    return _stored(path, _SAFETENSORS)


def stored_torch_weights(path: Path) -> Stored:
    """What files of `torch.save` hold, by PyTorch's unpickler that makes nothing but tensors and plain containers.

    Raises:
        ConchError: as `stored_weights`, or the file needs other objects.
    """
    return _stored(path, _TORCH)


def _read_safetensors(path: Path) -> Stored:
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ConchError(
            f"--weights {path} is no sound safetensors file ({_line(error)}); write one with "
            "safetensors.torch.save_file(module.state_dict(), path), or give a PyTorch file as --torch-weights"
        ) from error
    same = {name: kept for name, kept in said.items() if name not in tensors and kept in tensors}
    return Stored(tensors, (path,), same)


def _read_torch(path: Path) -> Stored:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files end in many kinds
        todo = "save module.state_dict() with safetensors where you trust the file"
        todo = "give it as --weights" if path.suffix == ".safetensors" else todo
        raise ConchError(
            f"--torch-weights {path} is no file of tensors alone ({_line(error)[:200]}); {todo}"
        ) from error
    tensors: dict[str, Any] = {}
    for name, value in _flat(content):
        if name in tensors:
            raise ConchError(f"--torch-weights {path} has two tensors called {name}; save module.state_dict() alone")
        tensors[name] = value
    if not isinstance(content, Mapping) or not tensors:
        held = "no tensors" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ConchError(f"--torch-weights {path} holds {held}; it must be a module's state_dict()")
    return Stored(tensors, (path,))


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors of nested dictionaries and lists, their names joined by dots; what else is there is no weight."""
    if isinstance(content, torch.Tensor) or prefix.endswith("_extra_state."):
        yield prefix.removesuffix("."), content
    elif isinstance(content, Mapping | list | tuple):
        for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
            yield from _flat(value, f"{prefix}{key}.")


@dataclass(frozen=True)
class _Format:
    """One way to keep weights."""

    flag: str
    suffixes: tuple[str, ...]
    index: str
    read: Callable[[Path], Stored]
    other: str
    """The flag of the other format."""


_SAFETENSORS = _Format(
    "--weights", (".safetensors",), ".safetensors.index.json", _read_safetensors, "--torch-weights"
)  # fmt: skip
_TORCH = _Format("--torch-weights", (".pt", ".pth", ".bin", ".ckpt"), ".bin.index.json", _read_torch, "--weights")
_BOTH = (_SAFETENSORS, _TORCH)


def _stored(path: Path, form: _Format) -> Stored:
    try:
        if path.is_dir():
            return _folder(path, form)
        if path.name.endswith(".index.json"):
            return _index(path, form)
        return form.read(path)
    except OSError as error:
        raise ConchError(f"{form.flag} {path} cannot be read: {error.strerror or error}") from error


def _folder(folder: Path, form: _Format) -> Stored:
    """The one index, the one file or the one full set of shards of a folder."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    indices = [file for file in files if file.name.endswith(form.index)]
    weights = [file for file in files if file.suffix in form.suffixes]
    if len(indices) == 1 and {file.name for file in weights} <= set(_weight_map(indices[0], form).values()):
        return _index(indices[0], form)
    if not indices and len(weights) == 1:
        return form.read(weights[0])
    if not indices and weights and _is_one_set(weights):
        return _joined([form.read(file) for file in weights], form.flag, folder)
    shown = [*indices, *weights]
    if shown:
        raise ConchError(
            f"{form.flag} {folder} has more than one reading: {_files(shown)}; give the file or the index that is meant"
        )
    others = [file for file in files if any(file.suffix in other.suffixes for other in _BOTH)]
    hint = f"it has {_files(others)}: give it as {form.other}" if others else "give the file itself"
    raise ConchError(f"{form.flag} {folder} has no file *{', *'.join((*form.suffixes, form.index))}; {hint}")


def _is_one_set(files: list[Path]) -> bool:
    """Whether they are all of NAME-00001-of-00002, NAME-00002-of-00002."""
    parts = [_SHARD.fullmatch(file.stem) for file in files]
    found = {(part[1], int(part[2]), int(part[3])) for part in parts if part}
    return bool(found) and found == {
        (name, number, len(files)) for name, _, _ in found for number in range(1, len(files) + 1)
    }


def _index(path: Path, form: _Format) -> Stored:
    """The shards of an index; the tensors have to be where it says."""
    places = _weight_map(path, form)
    names = sorted(set(places.values()))
    if missing := [name for name in names if not (path.parent / name).is_file()]:
        raise ConchError(
            f"{form.flag} {path} names {', '.join(missing[:SHOWN_FILES])}: not there; it belongs beside it"
        )
    shards = {name: form.read(path.parent / name) for name in names}
    stored = _joined(list(shards.values()), form.flag, path)
    there = {(tensor, name) for name, shard in shards.items() for tensor in shard.tensors}
    if differing := sorted({tensor for tensor, _ in there ^ set(places.items())}):
        raise ConchError(
            f"{form.flag} {path} and its shards differ in {', '.join(differing[:SHOWN_FILES])}: the index is of other "
            "files; copy all of them again"
        )
    return Stored(stored.tensors, (path, *stored.files), stored.same)


def _weight_map(path: Path, form: _Format) -> dict[str, str]:
    """Tensor to shard; shards are plain files beside the index."""
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        sound = bool(places) and all(isinstance(name, str) and name == Path(name).name for name in places.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConchError(
            f'{form.flag} {path} is no index: it must be JSON with a "weight_map" of tensor to file'
        ) from error
    if not sound:
        raise ConchError(f"{form.flag} {path}: its weight_map must name files that lie beside it")
    if other := sorted({name for name in places.values() if Path(name).suffix not in form.suffixes}):
        raise ConchError(f"{form.flag} {path} is the index of {', '.join(other[:SHOWN_FILES])}: try {form.other}")
    return dict(places)


def _joined(shards: list[Stored], flag: str, path: Path) -> Stored:
    tensors: dict[str, Any] = {}
    for shard in shards:
        if twice := sorted(tensors.keys() & shard.tensors.keys()):
            raise ConchError(f"{flag} {path}: {twice[0]} is in two shards; they do not belong together")
        tensors |= shard.tensors
    same = {name: kept for shard in shards for name, kept in shard.same.items() if name not in tensors}
    return Stored(tensors, tuple(file for shard in shards for file in shard.files), same)


def _files(files: list[Path]) -> str:
    more = f", ... ({len(files)} in all)" if len(files) > SHOWN_FILES else ""
    return ", ".join(file.name for file in files[:SHOWN_FILES]) + more


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
