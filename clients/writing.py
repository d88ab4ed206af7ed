"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from clients.errors import UnwritableOutput


def check_writable(path: Path) -> None:
    """Raises UnwritableOutput for a place that can be seen to be wrong before the work for it is done."""
    if path.is_dir():
        raise UnwritableOutput(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise UnwritableOutput(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UnwritableOutput(f"cannot write {path}: the folder {path.parent} is read-only")


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Call `write` with a file beside `path` and rename it to `path` when it is complete and on disk.

    Raises UnwritableOutput when the disk is full, read-only or the like; `path` is then as it was before.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UnwritableOutput(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
