"""The folder that a server needs while it runs: backends, libraries, a log. Gone with it, or at the next start."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from conch.contracts.owned import owned_folder, remove_abandoned
from serving.errors import ServingError
from serving.server.linked_models import PLAIN_PATH

PREFIX = "conch-server-"


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """A new folder among the temporary files, gone afterwards; those of processes that were killed are removed.

    Its path is one that Triton's Python backend can hand on (see the module `linked_models`), whatever TMPDIR is.

    Raises:
        ServingError: There is no such place to write to.
    """
    home = _home()
    remove = partial(shutil.rmtree, ignore_errors=True)  # another user's stays
    remove_abandoned(home, PREFIX, remove)
    with owned_folder(home, PREFIX, remove) as folder:
        yield folder


def _home() -> Path:
    given = tempfile.gettempdir()
    for place in (given, "/tmp", "/var/tmp", "/dev/shm"):
        if PLAIN_PATH.fullmatch(str(Path(place).resolve())) and os.access(place, os.W_OK | os.X_OK):
            return Path(place).resolve()
    raise ServingError(
        f"the server needs a folder for temporary files whose path has no blanks and only ASCII letters, "
        f"{given} is none and /tmp cannot be written: set TMPDIR"
    )
