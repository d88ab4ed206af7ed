"""Flags that may be repeated take a list as well: `--output a b` is `--output a --output b`."""

from collections.abc import Sequence
from typing import get_type_hints

import tyro


def repeated(words: Sequence[str], command: type, positionals: int) -> list[str]:
    """A command line with each list of a repeated flag as tyro reads it.

    Args:
        words: The command line.
        command: Its dataclass, whose flags with `UseAppendAction` are the repeated ones.
        positionals: Words that have to come first. Where they do not, one of them may be behind a list, and a list of
            more than one value is not taken for one: the line stays as it is.
    """
    leading = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    if leading < positionals:
        return list(words)
    flags, found, flag, values = _repeated_flags(command), [], "", 0
    for word in words:
        if word.startswith("-"):
            name, separator, _ = word.partition("=")
            flag, values = (name if name in flags else ""), int(bool(separator))
        elif flag and values:
            found.append(flag)
        else:
            values = 1
        found.append(word)
    return found


def _repeated_flags(command: type) -> set[str]:
    flags = set()
    for field, hint in get_type_hints(command, include_extras=True).items():
        markers = getattr(hint, "__metadata__", ())
        if tyro.conf.UseAppendAction in markers:
            names = [name for marker in markers if (name := getattr(marker, "name", None))]
            flags.add("--" + (names or [field])[0].replace("_", "-"))
    return flags
