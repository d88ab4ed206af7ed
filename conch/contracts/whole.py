"""Files and folders that appear whole or not at all, whatever kills their writer.

What is written lies in a folder of its own until it is whole:

    <home>/.conch-staging-<random>/owner.lock   locked (flock) by its writer for as long as that lives
                                   target       the name of the folder that is to appear
                                   content/     what is being written
                                   before/      what stood in its place, for a moment, where the kernel cannot exchange

One whose writer was killed is told as the module `owned` does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conch.contracts.errors import ConchError
from conch.contracts.owned import owned_folder, remove_abandoned

PREFIX = ".conch-staging-"
TARGET, CONTENT, BEFORE = "target", "content", "before"
RENAME_EXCHANGE = 2
AT_FDCWD = -100
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write_whole(file: Path, data: bytes) -> None:
    """Put `data` in the place of `file`, which nobody sees half-written; its folder is made where it is missing.

    Raises:
        OSError: It cannot be written; what was there is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of `target` when the block ends well, and vanishes when it does not.

    Raises:
        ConchError: the place cannot be written to, or the disk is full. An `OSError` of the block that is about another
            place stays what it is.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stack = contextlib.ExitStack()
        staging = stack.enter_context(staging_folder(target.parent))
    except OSError as error:
        raise ConchError(f"cannot write to {target.parent}: {error.strerror}") from error
    with stack:
        content = staging / CONTENT
        try:
            content.mkdir()
            (staging / TARGET).write_text(target.name, encoding="utf-8")
            yield content
        except OSError as error:
            if not _is_about(error, staging):
                raise
            raise ConchError(f"cannot write {target}: {error.strerror or error}") from error
        try:
            sync_tree(content)
            _put_into_place(staging, target)
        except OSError as error:
            raise ConchError(f"cannot write {target}: {error.strerror or error}") from error


@contextlib.contextmanager
def staging_folder(home: Path) -> Iterator[Path]:
    """A locked folder in `home` to write in, gone afterwards; what killed writers left there is recovered and removed.

    Raises:
        OSError: `home` cannot be written to.
    """
    sweep(home)
    with owned_folder(home, PREFIX, _clean_up) as staging:
        yield staging


def sweep(home: Path) -> None:
    """Finish or undo what writers that were killed had begun in `home`, and remove what they left."""
    remove_abandoned(home, PREFIX, _clean_up)


def recover(target: Path) -> None:
    """Bring `target` back where a writer was killed while it exchanged it; nothing where it is there."""
    if not target.exists():
        with contextlib.suppress(OSError):
            sweep(target.parent)


def _clean_up(staging: Path) -> None:
    """Remove a staging folder, but never what stood in the target's place while nothing else stands there.

    The new one goes there, which was whole when the old one was moved; or the old one, where that cannot be.
    """
    if (staging / BEFORE).is_dir():
        target = staging.parent / Path((staging / TARGET).read_text(encoding="utf-8")).name
        for candidate in (staging / CONTENT, staging / BEFORE):
            if not target.exists():
                with contextlib.suppress(OSError):
                    candidate.rename(target)
        if not target.exists():
            return
    shutil.rmtree(staging, ignore_errors=True)


def _put_into_place(staging: Path, target: Path) -> None:
    content = staging / CONTENT
    content.chmod(0o755)
    if not target.exists():
        content.rename(target)
    elif not exchange(content, target):
        target.rename(staging / BEFORE)
        content.rename(target)
    sync(target.parent)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step (`man renameat2`); False where kernel or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _is_about(error: OSError, staging: Path) -> bool:
    """Whether an error is one of the place written to, and not of something else that the block did.

    One that names no file comes from writing to an open one.
    """
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str)]
    if names:
        return any(Path(name).is_relative_to(staging) for name in names)
    return error.errno in OF_THE_DISK


def sync_tree(folder: Path) -> None:
    """Have a folder and all in it on the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Have a file or a folder's list of names on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
