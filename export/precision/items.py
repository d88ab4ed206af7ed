"""Which of the given items judge a variant, and which measure the ranges of its activations: never the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Items = Mapping[str, np.ndarray]
"""Arrays by input name, axis 0 the item."""

HOW_TO_CALIBRATE = "give real inputs, two items at least: --inputs-from data.npz"


def distinct(items: Items) -> dict[str, np.ndarray]:
    """The items without those that repeat an earlier one: a copy tells nothing more."""
    seen: dict[tuple[bytes, ...], int] = {}
    for index in range(len(next(iter(items.values())))):
        seen.setdefault(tuple(_key(array[index]) for array in items.values()), index)
    first = sorted(seen.values())
    return {name: array[first] for name, array in items.items()}


def _key(item: np.ndarray) -> bytes:
    return repr(item.tolist()).encode() if item.dtype == object else np.ascontiguousarray(item).tobytes()


def split(items: Items, calibrates: bool, scored: bool) -> tuple[Items, Items]:
    """The items that judge, and those that calibrate.

    Args:
        items: all that were given, each once.
        calibrates: whether ranges are measured at all.
        scored: whether a function judges, on data of its own: then all calibrate.
    """
    if not calibrates:
        return items, {}
    if scored:
        return items, items
    if len(next(iter(items.values()))) < 2:
        return items, {}
    # Every second: what is sorted, by class or by length, is then in both.
    return (
        {name: array[1::2] for name, array in items.items()},
        {name: array[::2] for name, array in items.items()},
    )
