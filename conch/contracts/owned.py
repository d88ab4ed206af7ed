"""Folders that belong to a process for as long as it lives, and of which the next one finds those that were left.

A folder is abandoned where the lock (flock) of its `owner.lock` can be had. The number of a process would not do: a
container has numbers of its own, and may share the folder. A name alone proves nothing: without an `owner.lock` it is
nobody's here.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = "owner.lock"
GLANCE_SECONDS = 1.0
"""Longer than whoever looks has the lock, which keeps others from having it meanwhile."""


@contextlib.contextmanager
def owned_folder(home: Path, prefix: str, remove: Callable[[Path], object]) -> Iterator[Path]:
    """A new folder in `home`, this process's within the block; `remove` takes it away afterwards.

    Raises:
        OSError: `home` cannot be written to.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
    # Locked before it has the name that says whose it is: nobody finds it unlocked while its owner lives.
    new = folder / f"{LOCK}.new"
    descriptor = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        new.rename(folder / LOCK)
        yield folder
    finally:
        remove(folder)
        os.close(descriptor)


@contextlib.contextmanager
def owning(folder: Path) -> Iterator[bool]:
    """Have a folder that stays, which is made where it is missing, be this process's within the block.

    Yields whether it is: it may be another's.

    Raises:
        OSError: The folder cannot be made or written to, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        yield _lock(descriptor, time.monotonic() + GLANCE_SECONDS)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def is_owned(folder: Path) -> bool:
    """Whether a process, of this or another container, has the folder for its own now."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: who looks at the same time is no owner
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def remove_abandoned(home: Path, prefix: str, remove: Callable[[Path], object]) -> None:
    """`remove` what processes that were killed have left in `home`."""
    for folder in home.glob(f"{prefix}*"):
        with _abandoned(folder) as ours:
            if ours:
                remove(folder)


@contextlib.contextmanager
def _abandoned(folder: Path) -> Iterator[bool]:
    """Whether the owner of a folder is gone; it is held within the block."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
