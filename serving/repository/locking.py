"""One writer of a model repository at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Hold the repository: two publishers never take one version number, no configuration is changed under another.

    Raises:
        OSError: The repository cannot be opened.
    """
    descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
