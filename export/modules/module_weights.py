"""Weights into a module: every tensor of it from the file, and every tensor of the file in its place, or one error."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from conch.contracts.errors import ConchError
from export.modules.weights_files import Stored, stored_torch_weights, stored_weights
from export.modules.weights_names import Names, Reading, common_prefixes, mismatch, readings, shown

State = Mapping[str, Any]


@dataclass(frozen=True)
class Loaded:
    """What was read, and what it took."""

    files: tuple[Path, ...]
    done: tuple[str, ...]
    """What was done besides taking each tensor by its name, a sentence each."""


def load_weights(module: nn.Module, path: Path) -> Loaded:
    """Load a safetensors file, the shards of an index or a folder of either into `module`.

    Prefixes of wrappers and of the attribute that a module was kept in are taken off, and a tensor that is tied to
    another may be missing, where that leaves one reading.

    Raises:
        ConchError: the files are missing or damaged, or their tensors are not the module's.
    """
    return _load(module, stored_weights(path), f"--weights {path}")


def load_torch_weights(module: nn.Module, path: Path) -> Loaded:
    """The same of a file saved by `torch.save`, with PyTorch's unpickler that makes nothing but tensors.

    A state dict may lie in another dictionary beside other things, as trainers write it.

    Raises:
        ConchError: as `load_weights`, or a file needs other objects.
    """
    return _load(module, stored_torch_weights(path), f"--torch-weights {path}")


def _load(module: nn.Module, stored: Stored, what: str) -> Loaded:
    names = _names(module)
    tensors: State = stored.tensors
    filled: list[str] = []
    found = readings(tensors, names)
    if not found and stored.same:
        filled = [f"{name} is {kept}, as the file says" for name, kept in stored.same.items()]
        tensors = {**tensors, **{name: tensors[kept] for name, kept in stored.same.items()}}
        found = readings(tensors, names)
    shards = [f"read from {shown(file.name for file in stored.files)}"] if len(stored.files) > 1 else []
    if not found:
        prefix = _own_way(module, tensors, names)
        if prefix is None:
            raise ConchError(f"{what} does not fit the module: {mismatch(tensors, names)}{_advice(module, tensors)}")
        taken_off = [f"prefix {prefix!r} of the file taken off"] if prefix else []
        return Loaded(stored.files, (*shards, *taken_off))
    reading = _the_one(found, tensors, _tensors(module), what)
    _write(module, reading, tensors, what)
    done = [str(reading)] if reading.boldness else []
    return Loaded(
        stored.files, (*shards, *done, *filled, *_tied(reading, names), *_casts(reading, tensors, _tensors(module)))
    )


def _tensors(module: nn.Module) -> State:
    """The module's own tensors by the names that a state dict has."""
    return module.state_dict(keep_vars=True)


def _names(module: nn.Module) -> Names:
    state = _tensors(module)
    groups: dict[Any, set[str]] = defaultdict(set)
    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor) and not is_lazy(tensor) and tensor.numel() and tensor.data_ptr():
            groups[tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype].add(name)
    recomputed = {name for name, _ in module.named_buffers(remove_duplicate=False)} - state.keys()
    # PyTorch itself takes older files without them; in eval mode nobody reads them.
    optional = {name for name in state if name.endswith("num_batches_tracked")}
    tied = {name: group for group in groups.values() if len(group) > 1 for name in group}
    return Names(tuple(state), tied, optional, recomputed)


def _own_way(module: nn.Module, tensors: State, names: Names) -> str | None:
    """The prefix without which the module's own loading takes all of it, as that of modules that know older names.

    Those of `torch.nn.utils.parametrizations` do.
    """
    for prefix in common_prefixes(tensors):
        plain = {name.removeprefix(prefix): value for name, value in tensors.items()}
        try:
            missing, unexpected = module.load_state_dict(plain, strict=False)
        except (RuntimeError, AttributeError):  # other shapes, or what is no tensor
            continue
        lacking = {name for name in missing if not names.tied.get(name, set()) - set(missing)}
        if not lacking - names.optional and not unexpected:
            return prefix
    return None


def _the_one(found: list[Reading], tensors: State, state: State, what: str) -> Reading:
    """The only reading whose shapes fit, or one whose values are those of all others that do."""
    fitting = [reading for reading in found if not _wrong_shapes(reading, tensors, state)] or found[:1]
    first = fitting[0]
    for other in fitting[1:]:
        if any(
            not _equal(tensors[place], tensors[other.places.get(name, place)]) for name, place in first.places.items()
        ):
            raise ConchError(
                f"{what} has more than one reading: {' | '.join(map(str, fitting[:3]))}; save the one that is "
                "meant as a file of its own"
            )
    return first


def _write(module: nn.Module, reading: Reading, tensors: State, what: str) -> None:
    """Load the tensors of a reading.

    Raises:
        ConchError: they are of other shapes or kinds, or they differ where the module has one tensor for several names.
    """
    state = _tensors(module)
    if wrong := _wrong_shapes(reading, tensors, state):
        raise ConchError(f"{what} does not fit the module: {'; '.join(wrong[:3])}{_more(wrong[3:])}")
    for _, name, got, own in _pairs(reading, tensors, state):
        if got.is_floating_point() != own.is_floating_point() or got.is_complex() != own.is_complex():
            raise ConchError(
                f"{what}: {name} is {_dtype(got)} in the file and {_dtype(own)} in the module; where the file is of a "
                "quantized module, give the weights from before"
            )
    module.load_state_dict(
        {name: tensors[place] for name, place in reading.places.items() if name in state}, strict=False
    )
    _check_written(module, reading, tensors, what)


def _check_written(module: nn.Module, reading: Reading, tensors: State, what: str) -> None:
    """Where names share memory the last one has won, and what the module makes itself was not written."""
    own_tensors = {**dict(module.named_buffers(remove_duplicate=False)), **_tensors(module)}
    for name, place, got, own in _pairs(reading, tensors, own_tensors):
        if is_lazy(own) or _equal(own, got.to(own.dtype)):
            continue
        if shared := _beside(name, reading, own_tensors):
            raise ConchError(
                f"{what}: {place} differs from {shown(shared)}, and in the module they are one tensor; untie them in "
                "the module, or save the file from a module that ties them"
            )
        raise ConchError(
            f"{what}: {place} differs from the module's {name}, which it makes itself; build the module that the file "
            "was saved from"
        )


def _pairs(reading: Reading, tensors: State, own: State) -> Iterator[tuple[str, str, torch.Tensor, torch.Tensor]]:
    """The module's name, the file's, and both tensors; without what is no tensor."""
    for name, place in reading.places.items():
        if isinstance(tensors[place], torch.Tensor) and isinstance(own.get(name), torch.Tensor):
            yield name, place, tensors[place], own[name]


def _wrong_shapes(reading: Reading, tensors: State, state: State) -> list[str]:
    return [
        f"{place} is {list(got.shape)} in the file and {list(own.shape)} in the module"
        for _, place, got, own in _pairs(reading, tensors, state)
        # Before 0.4 PyTorch wrote numbers with an axis.
        if not is_lazy(own) and got.shape != own.shape and (own.ndim, got.shape) != (0, (1,))
    ]


def _tied(reading: Reading, names: Names) -> list[str]:
    """Tensors that the file has under another name alone."""
    return [
        f"{name} is not in the file: in the module it is {min(names.tied[name] & reading.places.keys())}"
        for name in names.all
        if name not in reading.places and name in names.tied
    ]


def _casts(reading: Reading, tensors: State, state: State) -> list[str]:
    pairs = Counter(
        (_dtype(got), _dtype(own)) for _, _, got, own in _pairs(reading, tensors, state) if got.dtype != own.dtype
    )
    return [f"{count} tensors converted from {one} to {other}" for (one, other), count in pairs.items()]


def _advice(module: nn.Module, tensors: State) -> str:
    """What to do where the names differ."""
    state = _tensors(module)
    lacking = [name for name in state if name not in tensors]
    if len(lacking) == 1 and tensors.keys() <= state.keys():
        alike = [name for name, tensor in tensors.items() if _shape(tensor) == _shape(state[lacking[0]])]
        if len(alike) == 1:
            return f"; if the two are one tensor, tie them in the module: {lacking[0]} = {alike[0]}"
    return "; build the module that the file was saved from, or save its state_dict() alone"


def _equal(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return bool(one == other)
    if one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _shape(tensor: Any) -> tuple[int, ...] | None:
    return tuple(tensor.shape) if isinstance(tensor, torch.Tensor) and not is_lazy(tensor) else None


def _beside(name: str, reading: Reading, own: State) -> list[str]:
    """The file's names of tensors that share memory with the module's `name`."""
    memory = own[name].untyped_storage().data_ptr()
    return [
        place
        for other, place in reading.places.items()
        if other != name and isinstance(own[other], torch.Tensor) and not is_lazy(own[other])
        and own[other].untyped_storage().data_ptr() == memory
    ]  # fmt: skip


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _more(rest: list[str]) -> str:
    return f"; and {len(rest)} more" if rest else ""
