"""A rollout, or a rollback, that is killed at one of its steps: `python -m tests.support.killed_rollout`.

A step is whatever changes a file of the repository or of the server's folder, and each load and unload that the server
is asked for, before and after. Files are seen by the audit hooks of Python, so no step has to be known beforehand.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from serving.rollout import rollout
from serving.rollout.control import Control
from serving.server.running import running

CHANGES = ("os.symlink", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile")


class Steps:
    """Numbers the steps, prints each, and kills the process at `last`."""

    def __init__(self, folders: list[str], last: int) -> None:
        self._folders, self._last, self._number = folders, last, 0

    def step(self, what: str) -> None:
        self._number += 1
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()
        if self._number == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            paths = [str(value) for value in arguments if isinstance(value, str | Path)]
            if named := [path for path in paths if any(folder in path for folder in self._folders)]:
                self.step(f"{event} {named[-1]}")


def main(state: str, model: str, way: str, last: str) -> None:
    """`way` is out or back; nothing is shown of the version, for showing it changes nothing."""
    server = running(Path(state))
    assert server is not None
    steps = Steps([server.repository, str(Path(server.models).parent)], int(last))
    rollout.prove = lambda *_: {}
    for name in ("load", "unload"):
        asked = getattr(Control, name)

        def stepped(control: Control, model: str, asked: Any = asked, name: str = name) -> None:
            steps.step(f"{name} {model} is asked for")
            asked(control, model)
            steps.step(f"{name} {model} is done")

        setattr(Control, name, stepped)
    sys.addaudithook(steps.hook)
    with rollout.rollout_on(server, model, lambda _: None) as begun:
        if way == "out":
            begun.roll_out(2, "")
        else:
            begun.roll_back(None, "")


if __name__ == "__main__":
    main(*sys.argv[1:])
