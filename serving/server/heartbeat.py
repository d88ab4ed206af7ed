"""Whether a process of Triton's Python backend runs: what stands still has to be killed before it runs again.

A thread of each process (the stub) says every 300 ms, in memory that it shares with the server, that it is well. The
server takes that back when it hands a request over, and gives the process up where it is not said again within a
second: the request fails, and its memory there is used for the next ones. It leaves the process alive. One that goes on
after that (a core was starved, somebody sent SIGSTOP and SIGCONT) reads and writes memory that is no more its own: the
server dies of it, or takes the late answer for that to the next request.

So a process whose threads, that one included, have not run for almost a second is killed: a dead one answers nothing.
Before that second nothing is lost: Triton gives none up that has ticked within it.

Source: triton-inference-server/python_backend src/python_be.cc (SendMessageToStub, IsStubProcessAlive),
src/stub_launcher.cc (ReceiveMessageFromStub), src/pb_stub.cc (the thread that calls UpdateHealth); server issue 8604;
Linux Documentation/scheduler/sched-stats.rst (/proc/<pid>/schedstat, third number).
"""

from dataclasses import dataclass
from pathlib import Path

from serving.server import processes

STALLED_SECONDS = 0.85
"""Below the second of Triton by more than the time between two looks."""
LOOK_SECONDS = 0.1
AWAY_SECONDS = 0.5
"""Who has not looked for so long did not run himself: the machine stood still, and what he missed proves nothing."""


@dataclass
class _Seen:
    runs: int
    since: float
    """When `runs` was seen first."""


class Heartbeats:
    """Tells which processes stand still; `stalled` has to be asked of each about every `LOOK_SECONDS`."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._looked: dict[int, float] = {}
        self._working: dict[int, _Seen] = {}

    def stalled(self, pid: int, now: float) -> float | None:
        """For how many seconds, at least, no thread of the process has run, where that is too long; else None.

        One that only waits for its turn on a busy machine and has nothing to do is left alone: nobody waits for it.

        Args:
            pid: The process; one with a single thread has not begun to say that it is well, and is left alone, too.
            now: Seconds by a clock that does not jump.
        """
        threads = _threads(pid)
        runs = sum(count for count in threads.values() if count is not None)
        seen, looked = self._seen.get(pid), self._looked.get(pid, now)
        self._looked[pid] = now
        if seen is None or seen.runs != runs or now - looked > AWAY_SECONDS or len(threads) < 2:
            self._seen[pid] = _Seen(runs, now)
            return None
        still = now - seen.since
        if still < STALLED_SECONDS or None in threads.values():
            return None
        return None if _idle(pid) else still

    def quiet(self, pid: int, now: float) -> float:
        """For how many seconds the thread that runs the requests has not run."""
        runs = _runs(Path(f"/proc/{pid}/schedstat")) or 0
        seen = self._working.get(pid)
        if seen is None or seen.runs != runs:
            seen = self._working[pid] = _Seen(runs, now)
        return now - seen.since

    def forget(self, pid: int) -> None:
        """The process has ended; another may get its number."""
        for known in (self._seen, self._looked, self._working):
            known.pop(pid, None)


def _threads(pid: int) -> dict[int, int | None]:
    """How often each thread of the process was given a processor; None where the kernel does not count it."""
    try:
        return {int(task.name): _runs(task / "schedstat") for task in Path(f"/proc/{pid}/task").iterdir()}
    except OSError:
        return {}


def _runs(file: Path) -> int | None:
    try:
        return int(file.read_text().split()[2])
    except (OSError, ValueError, IndexError):
        return None


def _idle(pid: int) -> bool:
    """Whether it waits for requests: its first thread sleeps. One that somebody has stopped is in another state."""
    fields = processes.stat(pid)
    return not fields or fields[0] == "S"
