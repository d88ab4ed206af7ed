"""The files that a command line names: by name, by a pattern that the shell left as it was, or as `-`."""

import glob
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from clients.commands.exit_codes import BadCommand
from clients.errors import UnreadableInput

STANDARD_INPUT = Path("-")


class StandardInput(io.BytesIO):
    """All of the standard input; messages name it."""

    def __str__(self) -> str:
        return told(STANDARD_INPUT)


def opened(path: Path) -> Path | BinaryIO:
    """The file, or the whole standard input for `-`."""
    return StandardInput(sys.stdin.buffer.read()) if path == STANDARD_INPUT else path


def expanded(paths: Iterable[Path]) -> list[Path]:
    """The files that `paths` name, in their order: a pattern as `*.png` becomes what it matches, sorted.

    What exists under the name of a pattern is that file. Raises BadCommand for none at all or two times `-`, and
    UnreadableInput for a pattern without a match.
    """
    found: list[Path] = []
    for path in paths:
        if glob.has_magic(str(path)) and not path.exists():
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # Path has none for absolute ones
            if not matches:
                raise UnreadableInput(f"no file matches {path}")
            found += map(Path, matches)
        else:
            found.append(path)
    if not found:
        raise BadCommand("no file is named; give one or more, or - for the standard input")
    if found.count(STANDARD_INPUT) > 1:
        raise BadCommand("the standard input, -, can be read once")
    return found


def read_text(path: Path) -> str:
    """UTF-8, without the line end that closes it. Raises UnreadableInput."""
    try:
        return read_bytes(path).decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{told(path)} is no UTF-8 ({error.reason} at byte {error.start})") from error


def told(path: Path) -> str:
    """The file as messages name it."""
    return "the standard input" if path == STANDARD_INPUT else str(path)


def read_bytes(path: Path) -> bytes:
    """What the file holds, or the standard input for `-`. Raises UnreadableInput."""
    if path == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableInput(f"no such file: {path}") from error
    except OSError as error:
        raise UnreadableInput(f"cannot read {path}: {error.strerror}") from error
