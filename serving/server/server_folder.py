"""The folder that a server needs while it runs: backends, libraries, a log. Gone with it, or at the next start."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from serving.server import processes

PREFIX = "conch-server-"


def make_server_folder() -> Path:
    """A new, empty folder among the temporary files; those of processes that were killed are removed.

    Its name has the process, and when that started: another process with the same number is not taken for it.
    """
    home = Path(tempfile.gettempdir())
    for folder in home.glob(f"{PREFIX}*"):
        _remove_if_left(folder)
    pid = os.getpid()
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{pid}-{processes.start_time(pid)}-", dir=home))


def _remove_if_left(folder: Path) -> None:
    named = re.fullmatch(rf"{PREFIX}(\d+)-(\d+)-\w+", folder.name)
    if named and processes.start_time(int(named[1])) != int(named[2]):
        shutil.rmtree(folder, ignore_errors=True)  # another user's stays
