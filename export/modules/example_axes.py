"""Which axes of an example are open: those that change between examples or are named, and what the module shows.

The module is tried at other sizes of an axis, alone and with the axes that have to follow it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from conch.contracts.errors import ConchError
from export.modules.call import Call
from export.modules.module_spec import DEFAULT_SIZES
from export.modules.taken import one_line, run_call

Axis = tuple[int, int]
"""Number of an input, and of its axis."""

SECONDS = 10.0
"""What trying axes that nobody asked for may take."""

_OPEN = re.compile(r"(?P<name>.+):(?P<axis>-?\d+)=(?P<label>[A-Za-z_]\w*)")


@dataclass
class Trials:
    """Runs of a module on an example with other sizes."""

    module: torch.nn.Module
    call: Call
    arrays: Sequence[np.ndarray]
    began: float = field(default_factory=time.perf_counter)

    def refusal(self, sizes: Mapping[Axis, int]) -> str:
        """Why the module does not run at these sizes; empty where it does."""
        try:
            run_call(self.module, self.call, [resized(array, i, sizes) for i, array in enumerate(self.arrays)])
        except Exception as error:  # the user's own code
            return one_line(error)
        return ""

    def takes_others(self, axes: Iterable[Axis]) -> bool:
        """Whether the axes may have another size together."""
        axes = list(axes)
        return any(not self.refusal(dict.fromkeys(axes, size)) for size in self.others(axes[0]))

    def others(self, axis: Axis) -> list[int]:
        """Sizes near that of the example: one more, and for what has to be divisible twice and half of it."""
        size = self.size(axis)
        return [size + 1, 2 * size + (size == 1), *([size // 2] if size > 3 else [])]

    def size(self, axis: Axis) -> int:
        """That of the example."""
        return int(self.arrays[axis[0]].shape[axis[1]])

    def name(self, axis: Axis) -> str:
        """As `--open` has it."""
        return f"{self.call.names[axis[0]]}:{axis[1]}"

    @property
    def expired(self) -> bool:
        """Whether nothing more is to be tried."""
        return time.perf_counter() - self.began > SECONDS


def resized(array: np.ndarray, index: int, sizes: Mapping[Axis, int]) -> np.ndarray:
    """The array of input `index` with these sizes: cut, or begun again."""
    for (of, axis), size in sizes.items():
        if of == index:
            array = array.take(np.arange(size) % array.shape[axis], axis)
    return array


def why_not_batched(trials: Trials) -> str:
    """Why axis 0 of the inputs is no batch; empty where it is: the module takes other numbers of rows."""
    arrays = dict(zip(trials.call.names, trials.arrays, strict=True))
    if scalars := [name for name, array in arrays.items() if not array.ndim]:
        return f"{scalars[0]} is a single number"
    if len(rows := {len(array): name for name, array in arrays.items()}) > 1:
        return f"axis 0 is {' and '.join(f'{size} of {name}' for size, name in rows.items())}"
    size = next(iter(rows))
    other = 2 if size == 3 else 3
    refusal = trials.refusal({(index, 0): other for index in range(len(trials.arrays))})
    return f"the module refuses {other} rows ({refusal})" if refusal else ""


def parse_open(texts: Iterable[str], trials: Trials, batched: bool) -> dict[Axis, str]:
    """All `--open NAME:AXIS=LABEL`.

    Raises:
        ConchError: it names no axis, or one that the module takes at no other size.
    """
    opened: dict[Axis, str] = {}
    for text in texts:
        found = _OPEN.fullmatch(text)
        if not found:
            raise ConchError(f"--open {text}: it must be NAME:AXIS=LABEL, as in tokens:1=time")
        if found["name"] not in trials.call.names:
            raise ConchError(f"--open {text}: there is no input {found['name']!r}, there are {list(trials.call.names)}")
        index = trials.call.names.index(found["name"])
        axes = trials.arrays[index].ndim
        axis = int(found["axis"]) + (axes if found["axis"].startswith("-") else 0)
        if not int(batched) <= axis < axes:
            allowed = f"{int(batched)} to {axes - 1}" if axes > batched else "none"
            batch = "; axis 0 is the batch, which is open" if batched else ""
            raise ConchError(f"--open {text}: {found['name']} has {axes} axes, allowed are {allowed}{batch}")
        if batched and found["label"] == "batch":
            raise ConchError(f"--open {text}: axis 0 is the batch; give this one another name")
        opened[index, axis] = found["label"]
    for label in dict.fromkeys(opened.values()):
        _check_label(trials, label, [axis for axis, other in opened.items() if other == label], batched)
    return opened


def _check_label(trials: Trials, label: str, axes: list[Axis], batched: bool) -> None:
    sizes = {trials.size(axis) for axis in axes}
    if len(sizes) > 1:
        shown = ", ".join(f"{trials.name(axis)} is {trials.size(axis)}" for axis in axes)
        raise ConchError(f"--open: axes of one name are equal, and of {label} {shown}; give them names of their own")
    if trials.takes_others(axes):
        return
    for others in _followers(trials, axes, batched):
        if trials.takes_others([*axes, *others]):
            flags = " ".join(f"--open {trials.name(axis)}={label}" for axis in others)
            raise ConchError(f"--open {trials.name(axes[0])}={label}: other axes have to follow it; add {flags}")
    other = trials.others(axes[0])[0]
    raise ConchError(
        f"--open {trials.name(axes[0])}={label}: the module takes {trials.size(axes[0])}, as the example has, and "
        f"refuses others: {trials.refusal(dict.fromkeys(axes, other))}"
    )


def _followers(trials: Trials, axes: list[Axis], batched: bool) -> list[list[Axis]]:
    """The axes of the same size: those at the same place of other inputs, and all."""
    alike = [axis for axis in _axes(trials, batched) if trials.size(axis) == trials.size(axes[0]) and axis not in axes]
    places = {place for _, place in axes}
    return [others for others in ([axis for axis in alike if axis[1] in places], alike) if others]


def _axes(trials: Trials, batched: bool) -> list[Axis]:
    return [(i, axis) for i, array in enumerate(trials.arrays) for axis in range(int(batched), array.ndim)]


def varied(trials: Trials, examples: Sequence[Sequence[np.ndarray]], opened: Mapping[Axis, str],
           batched: bool) -> dict[Axis, str]:  # fmt: skip
    """The open axes with those whose sizes differ between the examples.

    Axes that always have the same size get one name where the module takes none of them alone at another.
    """
    labels = dict(opened)
    groups: dict[tuple[int, ...], list[Axis]] = {}
    for axis in _axes(trials, batched):
        sizes = tuple(arrays[axis[0]].shape[axis[1]] for arrays in examples)
        if len(set(sizes)) > 1:
            groups.setdefault(sizes, []).append(axis)
    for axes in groups.values():
        tied = [axis for axis in axes if len(axes) > 1 and not trials.takes_others([axis])]
        named = next((labels[axis] for axis in tied if axis in labels), "")
        for axis in axes:
            own = _label(trials, axis)
            labels.setdefault(axis, (named or _label(trials, tied[0])) if axis in tied else own)
    return labels


def _label(trials: Trials, axis: Axis) -> str:
    return re.sub(r"\W", "_", f"{trials.call.names[axis[0]]}_{axis[1]}")


def find_sizes(
    trials: Trials,
    examples: Sequence[Sequence[np.ndarray]],
    labels: Mapping[Axis, str],
    given: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """The sizes of each open axis that the proof runs: the given ones; or the examples', and of those that an axis
    without an example has the smallest and the largest that the module takes.
    """
    found: dict[str, tuple[int, ...]] = {}
    for label in dict.fromkeys(labels.values()):
        if label in given:
            found[label] = given[label]
            continue
        axes = [axis for axis, other in labels.items() if other == label]
        own = {int(arrays[axes[0][0]].shape[axes[0][1]]) for arrays in examples}
        usual = {size for size in DEFAULT_SIZES if not trials.refusal(dict.fromkeys(axes, size))}
        found[label] = tuple(sorted({*own, *((min(usual), max(usual)) if usual else ())}))
    return found


def offers(trials: Trials, labels: Mapping[Axis, str], batched: bool) -> tuple[list[str], list[str]]:
    """The `--open` that the module would take besides, for one name each; and the axes that time was too short for."""
    left = [axis for axis in _axes(trials, batched) if axis not in labels]
    found: list[str] = []
    stubborn: list[Axis] = []
    for place, axis in enumerate(left):
        if trials.expired:
            return found, [trials.name(other) for other in left[place:]]
        if trials.takes_others([axis]):
            found.append(f"--open {trials.name(axis)}={_label(trials, axis)}")
        else:
            stubborn.append(axis)
    for axis in stubborn:
        group = [other for other in stubborn if trials.size(other) == trials.size(axis) and other[1] == axis[1]]
        if axis == group[0] and len(group) > 1 and not trials.expired and trials.takes_others(group):
            found.append(" ".join(f"--open {trials.name(other)}={_label(trials, axis)}" for other in group))
    return found, []
