"""How the inputs of a module without a recipe are written on the command line.

image:float32[batch,3,224,224]
tokens:int64[batch,time]<0,102>
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from conch.contracts.errors import ConchError
from export.modules.bfloat16 import WAY_OUT
from training.tensors import Tensor

# What PyTorch, ONNX and Triton all have.
DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")
DEFAULT_SIZES = (1, 2, 17, 64)
"""Sizes of a symbolic axis that the proof runs where none are given."""

_SPEC = re.compile(
    r"(?P<name>[^\[\]<>]+):(?P<dtype>\w+)\[(?P<dims>[^\[\]]*)\](?:<(?P<low>[^,<>]+),(?P<high>[^,<>]+)>)?"
)


def parse_input(text: str) -> Tensor:
    """One `--input`: name, dtype, axes and, between `<` and `>`, its lowest and highest value.

    Without a range, floats are taken from -1 to 1, 8-bit integers from all they hold, other integers from 0 and 1.

    Raises:
        ConchError: what was got and what is allowed.
    """
    found = _SPEC.fullmatch(text.replace(" ", ""))
    if not found:
        raise ConchError(
            f"--input {text}: it must be NAME:DTYPE[AXIS,...] with an optional <LOWEST,HIGHEST>, "
            'for example "image:float32[batch,3,224,224]" or "tokens:int64[batch,time]<0,102>"'
        )
    dtype = found["dtype"]
    if dtype not in DTYPES:
        advice = f"; {WAY_OUT}" if dtype == "bfloat16" else ""
        raise ConchError(f"--input {text}: there is no dtype {dtype}, allowed are {', '.join(DTYPES)}{advice}")
    return Tensor(found["name"], dtype, _axes(text, found["dims"]), *_range(text, dtype, found["low"], found["high"]))


def parse_inputs(texts: Sequence[str], batched: bool = True) -> tuple[Tensor, ...]:
    """All `--input`, each with a name of its own; where they are batched each with the batch as its first axis."""
    inputs = tuple(parse_input(text) for text in texts)
    for text, tensor in zip(texts, inputs, strict=True):
        if batched and tensor.shape[:1] != ("batch",):
            axes = ",".join(map(str, tensor.shape))
            raise ConchError(
                f"--input {text}: its first axis must be batch, got [{axes}]; or serve it without: --max-batch 0"
            )
    names = [tensor.name for tensor in inputs]
    if twins := sorted({name for name in names if names.count(name) > 1}):
        raise ConchError(f"--input: {', '.join(twins)} is given twice; each input has a name of its own")
    return inputs


def open_axes(inputs: Iterable[Tensor], batched: bool = True) -> list[str]:
    """The names of the symbolic axes, without the batch."""
    axes = {size for tensor in inputs for size in tensor.shape if isinstance(size, str)}
    return sorted(axes - {"batch"} if batched else axes)


def parse_sizes(texts: Iterable[str], axes: Collection[str]) -> dict[str, tuple[int, ...]]:
    """All `--sizes AXIS=SIZE,...` of these axes; ascending.

    Raises:
        ConchError: an axis that no input has, or sizes that are none.
    """
    given: dict[str, tuple[int, ...]] = {}
    for text in texts:
        axis, _, sizes = text.partition("=")
        if axis not in axes:
            known = ", ".join(sorted(axes)) or "none besides batch"
            raise ConchError(f"--sizes {text}: no input has an axis {axis!r}, there are: {known}")
        if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", sizes):
            raise ConchError(f"--sizes {text}: it must be AXIS=SIZE,SIZE,... with whole numbers above 0")
        given[axis] = tuple(sorted({int(size) for size in sizes.split(",")}))
    return given


def _axes(text: str, dims: str) -> tuple[int | str, ...]:
    axes: list[int | str] = []
    for dim in dims.split(",") if dims else []:
        if re.fullmatch(r"[1-9]\d{0,8}", dim):
            axes.append(int(dim))
        elif re.fullmatch(r"[A-Za-z_]\w*", dim):
            axes.append(dim)
        else:
            raise ConchError(f"--input {text}: an axis is {dim!r}, allowed are a size above 0 and a name")
    return tuple(axes)


def _range(text: str, dtype: str, low: str | None, high: str | None) -> tuple[float, float]:
    kind = np.dtype(dtype)
    if low is None or high is None:
        return default_range(dtype)
    number = float if kind.kind == "f" else int
    try:
        lowest, highest = number(low), number(high)
    except ValueError:
        raise ConchError(f"--input {text}: <{low},{high}> must be two numbers of {dtype}") from None
    smallest, greatest = _limits(kind)
    if not smallest <= lowest <= highest <= greatest:
        raise ConchError(
            f"--input {text}: <{low},{high}> must go from low to high, within {smallest:g} to {greatest:g} for {dtype}"
        )
    return lowest, highest


def default_range(dtype: str) -> tuple[float, float]:
    """That of an input without one: -1 to 1 for floats, all they hold for 8-bit integers, 0 and 1 for others."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return -1, 1
    return _limits(kind) if kind.itemsize == 1 else (0, 1)


def _limits(kind: np.dtype[Any]) -> tuple[float, float]:
    if kind.kind == "b":
        return 0, 1
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    return float(limits.min), float(limits.max)
