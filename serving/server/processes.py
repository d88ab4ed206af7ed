"""Start processes that cannot outlive this one, and stop them with everything they started."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own; it gets SIGTERM when the calling thread dies, however it dies.

    A session of its own, because Ctrl-C in a terminal goes to a whole process group: only this process is to see it
    and then stop the other in order.
    """
    parent = os.getpid()

    def tie_to_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the tie
            os._exit(1)

    return subprocess.Popen(command, start_new_session=True, preexec_fn=tie_to_parent, **options)


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to `process`, `grace` seconds to end, then SIGKILL to whatever is left of its process group."""
    try:
        terminate(process, grace)
    finally:  # also when a second Ctrl-C interrupts the wait
        kill_group(process)


def terminate(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to `process`, and up to `grace` seconds of waiting for its end."""
    process.terminate()  # nothing happens where it has ended
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to every process that `process`, started by `spawn`, has left; return when all are gone."""
    signal_group(process.pid, signal.SIGKILL)  # it leads its session, so its group has its number
    process.wait()
    _await_group_end(process.pid)


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; none left is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def members(group: int) -> list[int]:
    """The processes of a process group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if (
            entry.name.isdecimal()
            and (fields := stat(int(entry.name)))
            and int(fields[2]) == group
            and fields[0] != "Z"
        ):
            found.append(int(entry.name))
    return found


def start_time(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot, or None when there is none. Tells reused numbers apart."""
    fields = stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def shared_memory(pids: Iterable[int]) -> set[Path]:
    """The files under /dev/shm that the processes have mapped (Triton's Python backend talks to its stubs there)."""
    files = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if "/dev/shm/triton_" in line:
                    files.add(Path(line[line.index("/dev/shm/") :].removesuffix(" (deleted)")))
    return files


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on (proc(5)): 0 state, 2 process group, 19 start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _await_group_end(group: int, seconds: float = 5.0) -> None:
    """Killed processes vanish a moment later; nothing of them is to be left when the caller goes on."""
    deadline = time.monotonic() + seconds
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.02)
