"""Which input of a file is which of its reference: by name, else by order where that is the only reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conch.contracts.errors import ConchError

Shape = tuple[int | str | None, ...]


class Mismatch(ConchError):
    """The file does not take or give what its reference does; nothing was run."""


@dataclass(frozen=True)
class Slot:
    """An input or output of either side."""

    name: str
    """Empty where it has none: what a module returns in a tuple."""
    dtype: str | None = None
    """NumPy's name; None where only a run tells."""
    shape: Shape | None = None
    """None where only a run tells."""

    def __str__(self) -> str:
        axes = "" if self.shape is None else f"[{', '.join('?' if size is None else str(size) for size in self.shape)}]"
        return f"{self.name or 'unnamed'}{f' {self.dtype}' if self.dtype else ''}{axes}"


@dataclass(frozen=True)
class Matching:
    """The pairs of one kind."""

    places: tuple[int, ...]
    """For each of the file's, in its order, the reference's place."""
    said: str
    """How they were found, where it was not by name alone; else empty."""


def match(
    kind: str, file: Sequence[Slot], reference: Sequence[Slot], called: str, more_by_name: bool = False
) -> Matching:
    """Pair the file's inputs or outputs with the reference's.

    Args:
        kind: "input" or "output".
        file: the file's, in its order.
        reference: the reference's, in its order.
        called: the reference's name in messages.
        more_by_name: whether the reference may have more, where each of the file's is one of its by name.

    Raises:
        Mismatch: another number, dtype or shape.
        ConchError: names that allow several readings.
    """
    known = {slot.name: place for place, slot in enumerate(reference) if slot.name}
    more = more_by_name and all(slot.name in known for slot in file)
    if len(file) != len(reference) and not more:
        raise Mismatch(
            f"the file has {len(file)} {kind}{'s' * (len(file) != 1)} ({_listed(file)}), {called} has {len(reference)} "
            f"({_listed(reference)}); each has to be held against one"
        )
    places = {slot.name: known[slot.name] for slot in file if slot.name in known}
    rest = [slot for slot in file if slot.name not in places]
    free = [place for place in range(len(reference)) if place not in places.values()]
    if places and len(rest) > 1 and not _distinct(rest):
        raise ConchError(
            f"{kind}s {_listed(rest)} of the file are called {_listed([reference[place] for place in free])} in "
            f"{called}, and more than one may be which; give them the same names"
        )
    if places and len(rest) > 1:
        free = [_only(kind, slot, free, reference, called) for slot in rest]
    places |= {slot.name: place for slot, place in zip(rest, free, strict=not more)}
    for slot in file:
        _check_types(kind, slot, reference[places[slot.name]], called)
    others = [reference[place] for place in free]
    return Matching(tuple(places[slot.name] for slot in file), _said(kind, rest, others))


def _said(kind: str, rest: Sequence[Slot], others: Sequence[Slot]) -> str:
    if not rest:
        return f"{kind}s of the reference that the file does not have: {_listed(others)}" if others else ""
    if not any(other.name for other in others):  # a tuple's: there is nothing else to go by
        return f"{kind}s by order" if len(rest) > 1 else ""
    return f"{kind}s by order: " + ", ".join(
        f"{one.name} is {other.name}" for one, other in zip(rest, others, strict=True)
    )


def same_sizes(one: Shape | None, other: Shape | None) -> bool:
    """Whether two shapes have the same number of axes, and no axis two fixed sizes."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(one, other, strict=True)
    )


def _check_types(kind: str, slot: Slot, other: Slot, called: str) -> None:
    same_dtype = slot.dtype == other.dtype or other.dtype is None
    if not (same_dtype and same_sizes(slot.shape, other.shape)):
        raise Mismatch(f"{kind} {slot} of the file is {other} in {called}; dtypes and fixed sizes have to be the same")


def _distinct(slots: Sequence[Slot]) -> bool:
    """Whether their types tell them apart."""
    kinds = [(slot.dtype, len(slot.shape or ())) for slot in slots]
    return len(set(kinds)) == len(kinds)


def _only(kind: str, slot: Slot, free: Sequence[int], reference: Sequence[Slot], called: str) -> int:
    """The one place that the type allows."""
    fitting = [
        place
        for place in free
        if reference[place].dtype == slot.dtype and same_sizes(reference[place].shape, slot.shape)
    ]
    if len(fitting) != 1:
        raise ConchError(
            f"{kind} {slot} of the file may be {_listed([reference[place] for place in fitting or free])} in {called}; "
            "give it the same name"
        )
    return fitting[0]


def _listed(slots: Sequence[Slot]) -> str:
    return ", ".join(str(slot) for slot in slots) or "none"
