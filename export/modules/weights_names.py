"""Which tensor of a weights file is which of a module's, where they are called otherwise.

Wrappers put segments of their own into every name (`module.`, `_orig_mod.`), a training class the attribute that it
keeps the module in (`model.`), a checkpoint its key (`state_dict.`, see `weights_files.Stored`). A reading takes such
segments off, or a prefix of the module's own names, until the two sets of names are the same: all of the module's, and
nothing of the file's beside them under the same prefix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

WRAPPERS = {
    "module",  # DataParallel, DistributedDataParallel, AveragedModel, DeepSpeed
    "_orig_mod",  # torch.compile
    "_forward_module",  # Lightning Fabric
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
}

SHOWN_NAMES = 5
"""Names that a message lists of each side."""


@dataclass(frozen=True)
class Names:
    """The names of a module's tensors, and which of them a file may lack or have."""

    all: Collection[str]
    tied: Mapping[str, Set[str]] = field(default_factory=dict)
    """By name, all names of the same tensor: one of them is enough."""
    optional: Set[str] = frozenset()
    """What a file may lack."""
    recomputed: Set[str] = frozenset()
    """What a file may have, though the module makes it itself: buffers that are not persistent."""


@dataclass(frozen=True)
class Reading:
    """One way to find the module's tensors in the file."""

    places: dict[str, str]
    """The module's name to the file's, of all that the file has."""
    taken_off: str = ""
    """The prefix of the file's names."""
    put_before: str = ""
    """The prefix of the module's."""
    unwrapped: tuple[str, ...] = ()
    """Segments of wrappers that were taken out on either side."""
    left_out: tuple[str, ...] = ()
    """The file's names that are not under the prefix."""

    @property
    def boldness(self) -> int:
        """The less was done, the better: a reading is taken before all that are bolder."""
        if self.left_out:
            return 4 if self.put_before else 3
        return 2 if self.taken_off or self.put_before else 1 if self.unwrapped else 0

    def __str__(self) -> str:
        parts = [f"{', '.join(map(repr, self.unwrapped))} of wrappers taken out of the names"] if self.unwrapped else []
        parts += [f"prefix {self.taken_off!r} of the file taken off"] if self.taken_off else []
        parts += [f"prefix {self.put_before!r} of the module put before"] if self.put_before else []
        if self.left_out:
            parts.append(f"what is not under {self.taken_off!r} left out: {shown(self.left_out)}")
        return "; ".join(parts) or "name by name"


def readings(stored: Collection[str], names: Names) -> list[Reading]:
    """The least bold readings of a file's names; none where it is not the module's."""
    found = list(_all(stored, names))
    least = min((reading.boldness for reading in found), default=0)
    distinct: list[Reading] = []
    for reading in found:
        if reading.boldness == least and all(reading.places != other.places for other in distinct):
            distinct.append(reading)
    return distinct


def mismatch(stored: Collection[str], names: Names) -> str:
    """What the nearest reading lacks on both sides."""
    if not names.all:
        return f"the module has no tensors; the file has {shown(stored)}"
    wanted = {_unwrapped(name): name for name in names.all}
    behind = _by_prefix({_unwrapped(name): name for name in stored})
    prefix, found = max(
        behind.items(), key=lambda item: (len(item[1].keys() & wanted), -len(item[1]), -len(item[0])), default=("", {})
    )
    if not found.keys() & wanted:
        return f"no name is on both sides: the module has {shown(names.all)}; the file has {shown(stored)}"
    lacking = {name for plain, name in wanted.items() if plain not in found}
    lacking -= names.optional | {tied for name in names.all if name not in lacking for tied in names.tied.get(name, ())}
    unknown = [name for plain, name in found.items() if plain not in wanted]
    sides = (("the file lacks", lacking), ("the module lacks", unknown))
    parts = [f"{side} {shown(side_names)}" for side, side_names in sides if side_names]
    return f"{f'under {prefix!r} ' if prefix else ''}{'; '.join(parts)}"


def shown(names: Iterable[str]) -> str:
    """The first names, and how many there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:SHOWN_NAMES]) + (f", ... ({len(ordered)})" if len(ordered) > SHOWN_NAMES else "")


def common_prefixes(names: Collection[str]) -> list[str]:
    """The prefixes that all names have, none among them, the shortest first."""
    behind = _by_prefix({name: name for name in names})
    return sorted(prefix for prefix, found in behind.items() if len(found) == len(names))


def _all(stored: Collection[str], names: Names) -> Iterator[Reading]:
    for unwrap in (False, True):
        files, modules = _spelled(stored, unwrap), _spelled(names.all, unwrap)
        if files is None or modules is None:
            continue
        behind, inside = _by_prefix(files), _by_prefix(modules)
        segments = {part for name in (*stored, *names.all) for part in name.split(".")} if unwrap else set()
        for before in common_prefixes(modules):
            wanted = inside[before]
            spare = {(_unwrapped(name) if unwrap else name).removeprefix(before): name for name in names.recomputed}
            for prefix, found in behind.items():
                if (places := _places(found, wanted, spare, names)) is not None:
                    beside = tuple(sorted(set(files.values()) - set(found.values())))
                    yield Reading(places, prefix, before, tuple(sorted(segments & WRAPPERS)), beside)


def _places(
    found: Mapping[str, str], wanted: Mapping[str, str], spare: Mapping[str, str], names: Names
) -> dict[str, str] | None:
    """The module's name to the file's; None where something is missing or too much."""
    if len(found) + len(names.optional) + sum(len(group) for group in names.tied.values()) < len(wanted):
        return None
    if any(plain not in wanted and plain not in spare for plain in found):
        return None
    places = {wanted.get(plain) or spare[plain]: name for plain, name in found.items()}
    missing = (name for name in names.all if name not in places and name not in names.optional)
    return None if any(not names.tied.get(name, set()) & places.keys() for name in missing) else places


def _spelled(names: Collection[str], unwrap: bool) -> dict[str, str] | None:
    """The names as they are compared to the names as they are; None where two become one."""
    spelled = {_unwrapped(name) if unwrap else name: name for name in names}
    return spelled if len(spelled) == len(names) else None


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _by_prefix(spelled: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """For no prefix and every one that ends in a dot: what is behind it, to the whole name."""
    behind: dict[str, dict[str, str]] = defaultdict(dict)
    for compared, name in spelled.items():
        behind[""][compared] = name
        for place, letter in enumerate(compared):
            if letter == ".":
                behind[compared[: place + 1]][compared[place + 1 :]] = name
    return behind
