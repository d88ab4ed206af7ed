"""The folder that a server needs while it runs: backends, libraries, a log. Gone with it, or at the next start."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from serving.errors import ServingError
from serving.server import processes
from serving.server.linked_models import PLAIN_PATH

PREFIX = "conch-server-"


def make_server_folder() -> Path:
    """A new, empty folder among the temporary files; those of processes that were killed are removed.

    Its name has the process, and when that started: another process with the same number is not taken for it. Its path
    is one that Triton's Python backend can hand on (see the module `linked_models`), whatever TMPDIR is.

    Raises:
        ServingError: There is no such place to write to.
    """
    home = _home()
    for folder in home.glob(f"{PREFIX}*"):
        _remove_if_left(folder)
    pid = os.getpid()
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{pid}-{processes.start_time(pid)}-", dir=home))


def _home() -> Path:
    given = tempfile.gettempdir()
    for place in (given, "/tmp", "/var/tmp", "/dev/shm"):
        if PLAIN_PATH.fullmatch(str(Path(place).resolve())) and os.access(place, os.W_OK | os.X_OK):
            return Path(place).resolve()
    raise ServingError(
        f"the server needs a folder for temporary files whose path has no blanks and only ASCII letters, "
        f"{given} is none and /tmp cannot be written: set TMPDIR"
    )


def _remove_if_left(folder: Path) -> None:
    named = re.fullmatch(rf"{PREFIX}(\d+)-(\d+)-\w+", folder.name)
    if named and processes.start_time(int(named[1])) != int(named[2]):
        shutil.rmtree(folder, ignore_errors=True)  # another user's stays
