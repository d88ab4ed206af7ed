"""A process that stands still."""

import os
import signal
import time
from pathlib import Path


def stop_process(pid: int) -> None:
    """SIGSTOP, and wait until none of its threads runs any more: until then it may still answer."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while any(_state(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.001)


def _state(task: Path) -> str:
    """The third field of `stat` (man 5 proc), after the name in brackets."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
