"""Examples of what a module takes, from where people keep them: a Python function, or a file of arrays."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from conch.contracts.errors import ConchError
from export.modules.bfloat16 import WAY_OUT
from export.modules.module_source import load_example
from export.modules.module_spec import DTYPES
from export.modules.structure import leaves

KINDS = "FILE.py:function, FILE.npz, FILE.json or FILE.pt"


def read_example(source: str) -> Any:
    """What `--example SOURCE` stands for.

    Raises:
        ConchError: it cannot be read, or is none of `KINDS`.
    """
    path = Path(source)
    if path.suffix in _READERS:
        if not path.is_file():
            raise ConchError(f"--example {path}: there is no such file")
        try:
            return _READERS[path.suffix](path)
        except Exception as error:  # damaged files end in many kinds
            reason = " ".join(str(error).split())[:200]
            raise ConchError(f"--example {path} cannot be read ({type(error).__name__}: {reason})") from error
    if ".py:" not in source:
        raise ConchError(f"--example {source}: it must be {KINDS}")
    return load_example(source)


def as_tensors(example: Any) -> Any:
    """The example with tensors of its own on the CPU in place of tensors and NumPy arrays.

    Raises:
        ConchError: it has none, or one of a type that cannot be served.
    """
    found = [(path, _as_tensor(leaf)) for path, leaf in leaves(example)]
    tensors = [(path, leaf) for path, leaf in found if isinstance(leaf, torch.Tensor)]
    if not tensors:
        raise ConchError(
            f"the example has no tensor or NumPy array ({_shown(example)}); it must have what forward takes: "
            "a tensor, a tuple of arguments, or a dictionary of keyword arguments"
        )
    for path, tensor in tensors:
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            advice = f"; {WAY_OUT}" if tensor.dtype == torch.bfloat16 else ""
            raise ConchError(
                f"the example's {'.'.join(path) or 'tensor'} is {dtype}; allowed are {', '.join(DTYPES)}{advice}"
            )
        if not tensor.numel():
            raise ConchError(f"the example's {'.'.join(path) or 'tensor'} has the shape {list(tensor.shape)}: nothing")
    _, spec = pytree.tree_flatten(example)
    return pytree.tree_unflatten([leaf for _, leaf in found], spec)


def _as_tensor(leaf: Any) -> Any:
    if isinstance(leaf, np.generic):
        return leaf.item()
    if isinstance(leaf, np.ndarray):
        try:
            return torch.from_numpy(np.array(leaf, order="C"))
        except TypeError as error:
            raise ConchError(f"the example has a NumPy array of {leaf.dtype}: {error}") from error
    return leaf.detach().cpu().clone() if isinstance(leaf, torch.Tensor) else leaf


def _shown(example: Any) -> str:
    return f"a {type(example).__name__}"


def _read_npz(path: Path) -> Any:
    """Arrays by name; what `numpy.savez` named itself are arguments in their order."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no .npz file; make one: numpy.savez(path, NAME=array, ...)")
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if list(arrays) == [f"arr_{place}" for place in range(len(arrays))]:
        return tuple(arrays.values())
    return arrays


def _read_json(path: Path) -> Any:
    """Lists of numbers are arrays: int64, float32 or bool."""
    return _arrays(json.loads(path.read_text(encoding="utf-8")))


def _arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _arrays(one) for key, one in value.items()}
    if not isinstance(value, list) or not value:
        return value
    if not all(isinstance(one, bool | int | float) for one in _numbers(value)):
        return [_arrays(one) for one in value]
    array = np.array(value)  # raises where the lists are of several lengths
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _numbers(value: Any) -> list[Any]:
    return [number for one in value for number in _numbers(one)] if isinstance(value, list) else [value]


def _read_torch(path: Path) -> Any:
    """By PyTorch's unpickler that makes nothing but tensors and plain containers."""
    return torch.load(path, map_location="cpu", weights_only=True)


_READERS = {".npz": _read_npz, ".json": _read_json, ".pt": _read_torch, ".pth": _read_torch}
