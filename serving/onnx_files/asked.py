"""What somebody says of an ONNX file that the file itself does not: its states, controls, batch axes, fixed inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ServingError

CONTROLS = ("start", "end", "ready")
"""What a control input may tell the graph of a request: it begins its sequence, ends it, is one at all."""


@dataclass(frozen=True)
class Asked:
    """By name of a tensor of the file."""

    states: tuple[tuple[str, str], ...] = ()
    """Input and output of each value that is kept from one request of a sequence to the next."""
    initial_state: Path | None = None
    """An .npz file with the first value of states, by the name of the input; of the others it is zeros."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """Input -> one of `CONTROLS`."""
    batch_axes: Mapping[str, int] = field(default_factory=dict)
    """Input or output -> the axis that is the batch."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Input -> its one value, as text."""


def asked(
    states: Sequence[str] = (),
    initial_state: Path | None = None,
    controls: Sequence[str] = (),
    batch_axes: Sequence[str] = (),
    fixed: Sequence[str] = (),
) -> Asked:
    """From the words of a command, as `h_in=h_out`, `begins=start`, `tokens=1`, `sr=16000`.

    Raises:
        ServingError: A word that is none of these, or a tensor of which two things are said.
    """
    axes = {}
    for name, axis in _pairs("--batch-axis", "NAME=AXIS, as tokens=1", batch_axes).items():
        if not (axis.isascii() and axis.isdecimal()):
            raise ServingError(f"--batch-axis {name}={axis}: an axis is a number from 0, not {axis!r}")
        axes[name] = int(axis)
    kinds = _pairs("--control", f"NAME=KIND with one of {', '.join(CONTROLS)}", controls)
    for name, kind in kinds.items():
        if kind not in CONTROLS:
            raise ServingError(f"--control {name}={kind}: allowed are {', '.join(CONTROLS)}")
    pairs = _pairs("--state", "INPUT=OUTPUT, as h_in=h_out", states)
    if len(set(pairs.values())) < len(pairs):
        raise ServingError(f"--state: an output belongs to two states: {', '.join(states)}")
    for flag, given in (("--initial-state", initial_state), ("--control", controls)):
        if given and not pairs:
            raise ServingError(f"{flag} is for a model with states: say which, --state h_in=h_out")
    values = _pairs("--fix", "NAME=VALUE, as sr=16000", fixed)
    for name in values:
        if name in pairs or name in kinds or name in axes:
            raise ServingError(f"--fix {name}={values[name]}: it is fixed, and can be nothing else beside that")
    if both := pairs.keys() & kinds.keys():
        raise ServingError(f"--control {min(both)}={kinds[min(both)]}: it is a state already")
    return Asked(tuple(pairs.items()), initial_state, kinds, axes, values)


def _pairs(flag: str, form: str, words: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ServingError(f"{flag} {word}: it is {form}")
        if name in pairs:
            raise ServingError(f"{flag} {word}: {name!r} is {pairs[name]} already")
        pairs[name] = value
    return pairs
