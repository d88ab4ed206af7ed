"""The processes of Triton's Python backend: which there are, and how those that died ended.

An instance of a model is a process, the stub, and one more completes the configuration beforehand. Triton says of a
dead one no more than that it "is not healthy", and of the one that completes not even that: it waits for it for ever.
But a dead process stays in /proc, with its exit status, until its parent has asked for it.

Source: proc(5), /proc/<pid>/stat; triton-inference-server/python_backend src/pb_stub.cc, main.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from serving.server import processes

STUB = "triton_python_backend_stub"
# Its arguments: the model's file, its region of shared memory and the like, and the instance's name.
MODEL_ARGUMENT, REGION_ARGUMENT, INSTANCE_ARGUMENT = 1, 2, 8
NAME_LENGTH = 15  # of a process's name as the kernel keeps it
# One that has done its work, or that Triton has killed itself because it refused its model, is a dead process for a
# moment as well; Triton collects it. What is still there after this nobody waits for in the right way.
LATE_SECONDS = 2.0


@dataclass(frozen=True)
class Death:
    """A stub that ended, and not by having done its work."""

    model: str
    instance: str
    """`MODEL_0_1`, as Triton names its instances; the model's own name where it completed the configuration."""
    status: int
    """As `os.wait` gives it."""
    starved: bool
    """Whether the kernel has killed a process of this machine for want of memory since the server was started."""
    pid: int = 0
    stalled: float | None = None
    """For how many seconds it stood still before it was killed for that (the module `heartbeat` says why)."""
    at: float = field(default_factory=time.monotonic)

    @property
    def completing(self) -> bool:
        """Whether it completed the configuration: Triton waits for it for ever."""
        return self.instance == self.model

    def __str__(self) -> str:
        if self.stalled is not None:
            return f"the process of {self.instance} stood still for {self.stalled:.1f} s and was killed for that"
        return f"the process of {self.instance} {how_ended(os.waitstatus_to_exitcode(self.status), self.starved)}"


def how_ended(code: int, starved: bool = False) -> str:
    """An exit code of `subprocess` in words: `was killed by SIGSEGV`, `ended with exit code 3`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and starved:
        name += ", as the kernel kills for want of memory (oom_kill in /proc/vmstat has grown)"
    return f"was killed by {name}"


class Stubs:
    """Watches the stubs of one server; `look` has to be called while a dead one is still there, some times a second.

    Args:
        group: The server's process group.
        models: The model repository that it was given.
    """

    def __init__(self, group: int, models: Path) -> None:
        self._group = group
        self._models = models
        self.living: dict[int, tuple[str, str]] = {}
        """The model and the instance of each process that lived when it was looked at last."""
        self.regions: set[Path] = set()
        """The shared memory of all that there were: who is killed leaves it behind."""
        self.unseen: dict[int, tuple[int, float]] = {}
        """Those that began and ended between two looks, so that nobody saw whose: the exit status, as `os.wait` gives
        it, and when it was seen first."""
        self._ended: dict[int, float] = {}
        self._others: set[int] = set()
        self._killed_before = _killed_for_memory()
        self.deaths: dict[str, Death] = {}
        """By instance, the last one."""

    @property
    def starved(self) -> bool:
        """Whether the kernel has killed a process of this machine for want of memory since this was made."""
        return _killed_for_memory() > self._killed_before

    def look(self) -> list[Death]:
        """Those that have died since the last look."""
        pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
        self._others &= pids
        for known in (self.living, self.unseen):
            for pid in known.keys() - pids:
                del known[pid]
        found = [death for pid in sorted(pids - self._others) if (death := self._look_at(pid))]
        self.deaths |= {death.instance: death for death in found}
        return found

    def _look_at(self, pid: int) -> Death | None:
        fields = processes.stat(pid)
        if not fields or int(fields[2]) != self._group:
            self._others.add(pid)
            return None
        if fields[0] != "Z":
            if pid not in self.living and (names := self._names(pid)):
                self.living[pid] = names
            return None
        if pid not in self.living:
            if int(fields[1]) == self._group and _name(pid) == STUB[:NAME_LENGTH]:
                self.unseen.setdefault(pid, (int(fields[49]), time.monotonic()))
            return None
        death = Death(*self.living[pid], int(fields[49]), self.starved, pid)
        lies = time.monotonic() - self._ended.setdefault(pid, time.monotonic())
        if (death.completing or death.status == 0) and lies < LATE_SECONDS:
            return None
        del self.living[pid]
        self._others.add(pid)  # it is told; dead it may stay
        return death

    def _names(self, pid: int) -> tuple[str, str] | None:
        """The model and the instance of a process, where it is a stub already and no shell that is to become one."""
        with contextlib.suppress(OSError, ValueError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if Path(words[0]).name == STUB and len(words) > INSTANCE_ARGUMENT:
                model = Path(words[MODEL_ARGUMENT]).relative_to(self._models).parts[0]
                self.regions.add(Path("/dev/shm") / words[REGION_ARGUMENT])
                return model, words[INSTANCE_ARGUMENT]
        return None


def _name(pid: int) -> str:
    """What the kernel calls a process, which is left of a dead one, too."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _killed_for_memory() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
